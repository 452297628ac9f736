"""``unstir show``: a figure of each idea, drawn and saved."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unstir.cli import options
from unstir.cli.places import picture_place
from unstir.cli.report import Report
from unstir.errors import InputError
from unstir.files import write_new

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from unstir.data.config import DataConfig
    from unstir.data.dataset import Splits

show = typer.Typer(name="show", help="Draw a figure of an idea and save it.")

PICTURES = (".png", ".jpg", ".svg", ".pdf")
SIDE = 128
"""Pixels of the longer side of an image in a figure: of a larger one its noise could not be seen."""

Seed = Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="Other images and other noise.")]


def _out(default: str, more: str = "") -> typer.models.OptionInfo:
    return typer.Option(help=f"Where to save it: x.png, x.svg, x.pdf{more}.", show_default=default)


@show.command(epilog="Example: unstir show schedules --out schedules.png")
def schedules(
    out: Annotated[Path | None, _out("schedules.png")] = None,
    as_json: options.Json = False,
) -> None:
    """Draw the schedules side by side: alpha_bar and log-SNR."""
    place = picture_place(out, Path(), "schedules.png", PICTURES)

    from unstir.evaluation.figures.schedules import draw_schedules

    place = _save(draw_schedules(), place)
    Report(as_json).end(f"The schedules are in {place}", {"out": str(place)})


@show.command(epilog="Example: unstir show forward photo.jpg --out forward.png")
def forward(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A picture, a data set's name, a folder of images, or a run.")
    ],
    out: Annotated[Path | None, _out("forward.png, in the run if SOURCE is one")] = None,
    seed: Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Draw an image under growing noise, in ten stages of the linear and of the cosine schedule."""
    run = Path(source) if _is_run(source) else None
    place = picture_place(out, run or Path(), "figures/forward.png" if run else "forward.png", PICTURES)
    image = _image(source, run, seed)

    from unstir.evaluation.figures.forward import draw_forward

    place = _save(draw_forward(image, seed), place)
    values = {"source": source, "seed": seed, "out": str(place)}
    Report(as_json).end(f"The forward process is in {place}", values)


@show.command(epilog="Example: unstir show degradations cifar10 --out degraded.png")
def degradations(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A data set's name, a folder of images, or a run.")
    ],
    n: Annotated[int, typer.Option("-n", metavar="N", min=1, max=64, help="How many images.")] = 6,
    out: Annotated[Path | None, _out("degradations.png, in the run if SOURCE is one")] = None,
    seed: Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Draw images degraded in every way, twice each: what a model is told that restores pictures."""
    from unstir.data.config import DataConfig
    from unstir.data.peek import peek
    from unstir.data.sources import DATASETS, find
    from unstir.training.run_folder import data_of

    run = Path(source) if _is_run(source) else None
    name = "degradations.png"
    place = picture_place(out, run or Path(), f"figures/{name}" if run else name, PICTURES)
    if run is None:
        found, known = find(source), DATASETS.get(source)
        own = found.kind == "array" or (known is not None and known.size is not None)
        side = SIDE if own or known else min(SIDE, peek(found).side)
        data = DataConfig(source=source, size=None if own else (side, side))
    else:
        data = data_of(run)
        find(data.source)

    from unstir.data.load import load
    from unstir.evaluation.figures.degradations import draw_degradations

    figure, names = draw_degradations(load(data), n, seed)
    place = _save(figure, place)
    values = {"source": source, "n": n, "seed": seed, "degradations": names, "out": str(place)}
    Report(as_json).end(f"The degradations are in {place}", values)


@show.command(epilog="Example: unstir show reverse runs/mnist --label 3 --out reverse.gif")
def reverse(
    run: options.RunPath,
    n: Annotated[int, typer.Option("-n", metavar="N", min=1, max=16, help="How many images.")] = 4,
    label: options.Label = None,
    out: Annotated[Path | None, _out("RUN/figures/reverse.png", ", or x.gif for an animation")] = None,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Draw the learned reverse process: from noise to images, and what the model believes on the way."""
    from unstir.cli.sample import split_labels
    from unstir.models.config import label_indices
    from unstir.models.file import read_config

    _, config = read_config(run)
    config.require("predict")
    labels = split_labels(label, config.classes, n)
    label_indices(config.classes, labels, range(n))
    place = picture_place(out, run, "figures/reverse.png", (*PICTURES, ".gif"))

    from unstir.evaluation.figures.reverse import FRAMES, STAGES, draw_reverse, film_of, reverse_stages
    from unstir.models.file import load
    from unstir.models.film import write_film

    film = place.suffix.lower() == ".gif"
    stages = reverse_stages(load(run), n, FRAMES if film else STAGES, labels, seed, progress=True)
    if film:
        place = write_new(place, partial(write_film, film_of(stages), kind="GIF"))
    else:
        place = _save(draw_reverse(stages), place)
    values = {"run": str(run), "n": n, "seed": seed, "stages": len(stages), "out": str(place)}
    Report(as_json).end(f"The reverse process is in {place}", values)


@show.command(epilog="Example: unstir show levels runs/mnist")
def levels(
    run: options.RunPath,
    n: Annotated[
        int, typer.Option("-n", metavar="N", min=1, max=options.MOST, help="How many images at each level.")
    ] = 256,
    out: Annotated[Path | None, _out("RUN/figures/levels.png")] = None,
    seed: Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Draw the loss over noise levels, beside that of the ideal denoiser and that of the mean image."""
    from unstir.data.sources import find
    from unstir.models.file import read_config
    from unstir.training.run_folder import data_of

    _, config = read_config(run)
    config.require("predict")
    config.hideable("The figure of levels")
    data = data_of(run)
    find(data.source)
    place = picture_place(out, run, "figures/levels.png", PICTURES)
    splits = _images(run, data)
    report = Report(as_json)
    report.say(f"Measuring {run} on {n} images at each level")

    from unstir.evaluation.figures.levels import draw_levels, level_losses
    from unstir.models.file import load

    losses = level_losses(load(run), splits, n, seed, progress=True)
    place = _save(draw_levels(losses), place)
    values = {
        "run": str(run),
        "images": losses.images,
        "ideal_of": losses.ideal_of,
        "seed": seed,
        "noise": (losses.levels.sigma / losses.levels.alpha).tolist(),
        "x0": {name: error.tolist() for name, error in losses.errors.items()},
        "out": str(place),
    }
    report.end(f"The loss over levels is in {place}", values)


@show.command(epilog="Example: unstir show diffae runs/mnist-diffae --out two-paths.png")
def diffae(
    run: options.RunPath,
    image: Annotated[
        Path | None, typer.Argument(metavar="IMAGE", help="A picture.", show_default="a held-out one of the run's")
    ] = None,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Steps of DDIM, there and back.")] = 50,
    out: Annotated[Path | None, _out("RUN/figures/diffae.png")] = None,
    seed: Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Draw a diffusion autoencoder's two paths: what an image means, the noise that is left, and both back."""
    from unstir.cli.edit.meaning import autoencoder, read_picture
    from unstir.data.sources import find
    from unstir.training.run_folder import data_of

    _, config = autoencoder(run, steps)
    data = None if image else data_of(run)
    if data is not None:
        find(data.source)
    place = picture_place(out, run, "figures/diffae.png", PICTURES)

    import torch

    from unstir.evaluation.figures.diffae import draw_two_paths, two_paths
    from unstir.models.file import load

    if image is None:
        assert data is not None
        held_out = _images(run, data).held_out
        pixels = held_out.pixels[seed % len(held_out)]
    else:
        pixels = read_picture(image, config)
    paths = two_paths(load(run).asking("morph"), torch.tensor(pixels) / 127.5 - 1, steps, seed)  # type: ignore[arg-type]
    place = _save(draw_two_paths(paths, steps), place)
    values = {"run": str(run), "steps": steps, "seed": seed, "error": paths.error, "out": str(place)}
    Report(as_json).end(f"The two paths are in {place}", values)


def _save(figure: Figure, place: Path) -> Path:
    """Save a figure, over no file that has come to ``place`` since, and return where."""
    return write_new(place, partial(figure.savefig, facecolor="white"))


def _is_run(source: str) -> bool:
    from unstir.models.file import PLAN

    path = Path(source)
    return path.suffix == ".safetensors" or any((path / name).exists() for name in ("config.yaml", PLAN))


def _images(run: Path, data: DataConfig) -> Splits:
    """Return the images that a run was trained on.

    Raises:
        InputError: If they are not there any more, or others.
    """
    from unstir.data.load import load
    from unstir.models.file import locate
    from unstir.training.run_folder import RunFolder

    splits = load(data)
    if splits.train.fingerprint != RunFolder(locate(run).parent).read_config().fingerprint:
        raise InputError(f"The images of '{data.source}' are not those that the run was trained on")
    return splits


def _image(source: str, run: Path | None, seed: int) -> Tensor:
    """Return the image that ``source`` and ``seed`` choose, float32 (C, H, W) in [-1, 1], in a figure's size.

    Raises:
        InputError: If there is none.
    """
    from unstir.data.config import DataConfig
    from unstir.data.decode import decode_file
    from unstir.data.folder import files_in, is_image
    from unstir.data.sources import DATASETS, find
    from unstir.training.run_folder import data_of

    path = Path(source).expanduser()
    if run is None and not (path.is_file() and is_image(source)):
        found = find(source)
        if found.kind == "images":
            folder = Path(found.place)
            pictures = [folder / name for files in files_in(folder) for name, _ in files if is_image(name)]
            path = pictures[seed % len(pictures)]
    if path.is_file() and is_image(path.name):
        pixels = decode_file(path)
    else:
        known = DATASETS.get(source)
        varies = run is None and known is not None and known.size is None
        size = (SIDE, SIDE) if varies else None
        data = data_of(run) if run else DataConfig(source=source, size=size)

        from unstir.data.load import load

        held_out = load(data).held_out
        pixels = held_out.pixels[seed % len(held_out)]

    import torch
    from torchvision.transforms.v2.functional import resize

    image = torch.tensor(pixels) / 127.5 - 1
    shrink = SIDE / max(image.shape[1:])
    if shrink >= 1:
        return image
    return resize(image, [max(1, round(side * shrink)) for side in image.shape[1:]], antialias=True).clamp(-1, 1)
