"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder, such as runs/mnist, or a .safetensors model.")
]
Sampler = Annotated[str | None, typer.Option(help="The sampler; see unstir samplers.", show_default="the run's")]
Steps = Annotated[
    int | None,
    typer.Option(help="How many steps; most samplers ask the network once in each.", show_default="the run's"),
]
Spacing = Annotated[
    str | None,
    typer.Option(
        help="How the steps lie: trailing, leading, linspace, quadratic, uniform, log_snr or karras.",
        show_default="the run's",
    ),
]
Eta = Annotated[
    float | None, typer.Option(help="ddim: from 0, no fresh noise, to 1, as ddpm.", show_default="the run's")
]
Variance = Annotated[
    str | None, typer.Option(help="ddpm: small, large or learned, how much fresh noise.", show_default="the run's")
]
Order = Annotated[int | None, typer.Option(help="unipc: 2 or 3.", show_default="the run's")]
Churn = Annotated[
    float | None,
    typer.Option(help="euler, heun: how much fresh noise over all steps; 0 is none.", show_default="the run's"),
]
ChurnMin = Annotated[
    float | None,
    typer.Option(help="euler, heun: the least sigma / alpha at which there is churn.", show_default="the run's"),
]
ChurnMax = Annotated[
    float | None,
    typer.Option(help="euler, heun: the most sigma / alpha at which there is churn.", show_default="the run's"),
]
ChurnNoise = Annotated[
    float | None,
    typer.Option(help="euler, heun: the churn's standard deviation, about 1.", show_default="the run's"),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        help="Sample on another schedule: linear, quadratic, cosine, sigmoid, vp, ve or flow.",
        show_default="the run's",
    ),
]
Label = Annotated[
    str | None,
    typer.Option(help="A class, by name or number; or several with commas, in turn.", show_default="all in turn"),
]
Epsilon = Annotated[
    float | None,
    typer.Option(help="langevin: the step, in units of the smallest variance.", show_default="by the levels"),
]
Updates = Annotated[
    int | None, typer.Option(help="langevin, pc: Langevin updates on each level.", show_default="the run's")
]
Snr = Annotated[
    float | None, typer.Option(help="pc: how long a correction is beside its noise.", show_default="the run's")
]
Predictor = Annotated[str | None, typer.Option(help="pc: reverse or ancestral.", show_default="the run's")]
Guidance = Annotated[
    float | None,
    typer.Option(help="How much to push towards the label; 0 is off.", show_default="the run's"),
]
Clip = Annotated[
    str | None,
    typer.Option(
        help="How predicted images are kept in range: static, dynamic or none.", show_default="the run's"
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="Image i is drawn from N + i alone.")]
Batch = Annotated[int, typer.Option(metavar="N", min=1, help="How many images are drawn together.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Duration = Annotated[
    str | None,
    typer.Option("--for", help="The budget in time, such as 90s, 30m or 1h30m.", show_default="the recipe's"),
]


def sampling_values(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a command's arguments that say how to sample: it must have an option for each such value."""
    from unstir.training.config import SamplingConfig

    return {name: arguments[name] for name in SamplingConfig.model_fields}
