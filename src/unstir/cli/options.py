"""Options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, get_args, get_origin

import typer

MOST = 10_000_000
"""Images, drawn together or measured: more take weeks and say nothing new."""

RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder, such as runs/mnist, or a .safetensors model.")
]
Label = Annotated[
    str | None,
    typer.Option(help="A class, by name or number; or several with commas, in turn.", show_default="all in turn"),
]
Prompt = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEXT",
        help="What is to be seen, for a model that is told captions; may be given many times, in turn.",
        show_default="no text",
    ),
]
Condition = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="What else the model is told. Several values with commas are the columns of a labelled grid, "
        "those of a second option its rows.",
    ),
]
Classifier = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN", help="A classifier of noised images, which guides to the labels.", show_default="none"
    ),
]
Scale = Annotated[float | None, typer.Option(help="How much the classifier guides.", show_default="1")]
Weaker = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN", help="A worse model, or checkpoint, that --guidance pushes away from.", show_default="none"
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="Image i is drawn from N + i alone.")]
Batch = Annotated[int, typer.Option(metavar="N", min=1, max=MOST, help="How many images are drawn together.")]
Against = Annotated[
    str,
    typer.Option(
        metavar="IMAGES",
        help="What drawn images are measured against: held-out, or train, as in papers.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Duration = Annotated[
    str | None,
    typer.Option("--for", help="The budget in time, such as 90s, 30m or 1h30m.", show_default="the recipe's"),
]


_THE_RUNS = "the run's"
_HOW = {
    "sampler": (str, "The sampler; see unstir samplers."),
    "steps": (int, "How many steps; most samplers ask the network once in each."),
    "spacing": (str, "How the steps lie: {}."),
    "schedule": (str, "Sample on another schedule: {}."),
    "guidance": (float, "How much to push towards what is told, such as the label; 0 is off."),
    "guidance_min": (float, "The least sigma / alpha at which there is guidance."),
    "guidance_max": (float, "The most sigma / alpha at which there is guidance."),
    "guidance_rescale": (float, "How much of the contrast that guidance adds is taken back, from 0 to 1."),
    "clip": (str, "How predicted images are kept in range: {}."),
}
"""The options of drawing that belong to no sampler: their type and their help."""


_STEERING: dict[str, Any] = {
    "prompt": Prompt,
    "condition": Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="What else the model is told; may be given many times."),
    ],
    "classifier": Classifier,
    "scale": Scale,
    "weaker": Weaker,
}
"""What says what is drawn, beside a label."""

_RESULTS: dict[str, tuple[Any, Any]] = {
    "n": (Annotated[int, typer.Option("-n", metavar="N", min=1, max=100, help="How many results, in a row.")], 1),
    "seed": (Seed, 0),
    "out": (
        Annotated[
            Path | None,
            typer.Option(
                help="The picture of the results, such as x.png.", show_default="in RUN/edits, named by IMAGE"
            ),
        ],
        None,
    ),
    "as_json": (Json, False),
}
"""The results of an edit: how many, from which seeds, where they go, and how that is told."""


def with_drawing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each value of drawing; its argument ``asked`` gets them all by name.

    Its arguments ``steering`` and ``results``, if it has them, get those of ``_STEERING`` and ``_RESULTS``.
    """

    @wraps(command)
    def wrapped(**arguments: Any) -> None:
        gathered = {group: {name: arguments.pop(name) for name in ways} for group, ways in given.items()}
        command(**arguments, **gathered)

    groups = {
        "asked": _ways(),
        "steering": {name: _parameter(name, option) for name, option in _STEERING.items()},
        "results": {name: _parameter(name, *option) for name, option in _RESULTS.items()},
    }
    own = inspect.signature(command, eval_str=True).parameters
    given = {group: ways for group, ways in groups.items() if group in own}
    parameters = []
    for parameter in own.values():
        parameters += given[parameter.name].values() if parameter.name in given else [parameter]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


@cache
def _ways() -> dict[str, inspect.Parameter]:
    """Return an option for each value of drawing, made from the configurations of sampling."""
    from unstir.sampling.config import SamplingConfig, sampler_options

    found: dict[str, tuple[type, str]] = {}
    for name, (kind, text) in _HOW.items():
        found[name] = kind, text.format(_choices(SamplingConfig.model_fields[name].annotation))
    for name, option in sampler_options().items():
        found[name] = option.type, option.help
    return {name: _way(name, kind, text) for name, (kind, text) in found.items()}


def _way(name: str, kind: type, text: str) -> inspect.Parameter:
    return _parameter(name, Annotated[Optional[kind], typer.Option(help=text, show_default=_THE_RUNS)])  # noqa: UP045


def _parameter(name: str, option: Any, default: object = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option)


def _choices(annotation: Any) -> str:
    """Return the names that a field takes, as a person lists them."""
    literals = [part for part in (annotation, *get_args(annotation)) if get_origin(part) is Literal]
    names = [name for literal in literals for name in get_args(literal)]
    return f"{', '.join(names[:-1])} or {names[-1]}" if names else ""
