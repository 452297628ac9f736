"""``unstir edit inpaint``: fills in a part of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from unstir.cli import options
from unstir.cli.edit import pictures
from unstir.cli.edit.telling import telling
from unstir.cli.places import picture_place
from unstir.cli.report import Report
from unstir.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

HOW = {
    "posterior": "known pixels pull by gradients (posterior)",
    "repaint": "known pixels are put back, with jumps back and forth (repaint)",
    "replacement": "known pixels are put back at each step (replacement)",
    "trained": "the model was trained to fill in",
}


@options.with_drawing
def inpaint(
    run: options.RunPath,
    image: pictures.OwnImagePath,
    mask: Annotated[
        Path, typer.Option(help="A picture of the same size: white is to be filled in, black is known.")
    ],
    label: pictures.Label = None,
    method: Annotated[
        Literal["posterior", "repaint", "replacement"] | None,
        typer.Option(
            help="By gradients, RePaint's jumps back and forth, or plain replacement: best, slowest, fastest.",
            show_default="posterior, or what the run was trained for",
        ),
    ] = None,
    larger: pictures.Larger = None,
    *,
    asked: dict[str, Any],
    steering: dict[str, Any],
    results: dict[str, Any],
    batch: options.Batch = 16,
) -> None:
    """Fill in a part of a picture; known pixels stay exactly as they are.

    A run that was trained to fill in does what it learned. Any other diffusion model is led by what is known.
    """
    from unstir.models.file import read_config

    _, config = read_config(run)
    trained = "edit" in config.verbs
    if not trained:
        config.require("inpaint")
    for option, value in {"method": method, "larger": larger}.items() if trained else ():
        if value is not None:
            raise InputError(f"This model was trained to fill in, at once: leave --{option} {value} out")
    pixels = pictures.read_own(image, config)
    hidden = pictures.read_mask(mask, pixels)
    n, seed = results["n"], results["seed"]
    told = telling(run, config, asked, label, n, steering)
    sampling = told.steering.settings
    if trained:
        config.check_task("inpainting", True)
        config.check_takes(pixels.shape)
    else:
        pictures.check_size(pixels, config, larger)
    place = picture_place(results["out"], run, f"edits/{image.stem}-inpainted.png", pictures.endings(len(pixels)))

    import torch

    from unstir.models.editing import inpainting_route
    from unstir.models.file import load
    from unstir.models.samples import Samples
    from unstir.sampling.draw import Course
    from unstir.sampling.inpainting import paste

    x, hole = pictures.as_images(pixels), torch.tensor(hidden)
    how = {**told.arguments(), "seed": seed, "batch": batch, "progress": True, **asked}
    report, name = Report(results["as_json"]), "trained" if trained else method or "posterior"
    if trained:
        evaluations = sampling.evaluations
    else:
        course = Course(route=inpainting_route(name, sampling.steps, bool(hidden.all())))
        evaluations = course.evaluations(sampling)
    report.say(pictures.told_cost(f"Filling in: {HOW[name]}", evaluations, n, name == "posterior"))
    model = load(run)
    if trained:
        drawn = model.edit("inpainting", x.expand(n, *x.shape[1:]), mask=hole[None, None], **how)
    elif larger == "resize":
        size = config.image_shape[1:]
        small = model.inpaint(pictures.scaled(x, size), _shrunk(hole, size), n, method=name, **how)
        drawn = Samples(paste(pictures.scaled(small.tensor, x.shape[2:]), x, hole))
    else:
        drawn = model.inpaint(x, hole, n, method=name, **how)
    place = pictures.save_row(drawn, place)
    values = {
        "run": str(run),
        "image": str(image),
        "mask": str(mask),
        "out": str(place),
        "n": n,
        "seed": seed,
        "method": name,
        "evaluations": evaluations,
        **told.values(),
    }
    report.end(f"The filled-in {'picture is' if n == 1 else f'{n} pictures are'} in {place}", values)


def _shrunk(hidden: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return a mask in another size: hidden is what holds a hidden pixel."""
    from torch.nn.functional import adaptive_max_pool2d

    return adaptive_max_pool2d(hidden[None].float(), size)[0] > 0
