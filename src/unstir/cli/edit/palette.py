"""``unstir edit colorize``, ``uncrop``, ``restore``, ``upscale``: what a model told degraded pictures can do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from unstir.cli import options
from unstir.cli.edit import pictures
from unstir.cli.places import picture_place
from unstir.cli.report import Report
from unstir.errors import InputError
from unstir.networks.told import DEGRADED, TASK

if TYPE_CHECKING:
    import numpy as np

    from unstir.models.systems import DenoiserConfig


@options.with_drawing
def colorize(
    run: options.RunPath,
    image: pictures.ImagePath,
    *,
    asked: dict[str, Any],
    results: dict[str, Any],
) -> None:
    """Give a picture colours, by what is gray in it."""
    config = _config(run, "colorization", asked)
    pixels, note = _fitted(pictures.read_any(image, config), config)
    _edit(run, image, config, "colorization", "colorized", pixels, None, note, asked, results)


@options.with_drawing
def uncrop(
    run: options.RunPath,
    image: pictures.OwnImagePath,
    side: Annotated[
        Literal["left", "right", "top", "bottom", "all"], typer.Option(help="Where the picture is to grow.")
    ] = "all",
    *,
    asked: dict[str, Any],
    results: dict[str, Any],
) -> None:
    """Make a picture twice as large in area, and paint what lies beyond its edge."""
    import numpy as np

    from unstir.data.degradations import beyond, canvas

    config = _config(run, "uncropping", asked)
    pixels = pictures.read_own(image, config)
    if config.network.any_size:
        size = canvas(*pixels.shape[1:], side)
    else:
        size = config.image_shape[1], config.image_shape[2]
    hidden = beyond(*size, side)
    known = int((~hidden).any(1).sum()), int((~hidden).any(0).sum())
    pixels, note = _resized(pixels, known)
    whole = np.zeros((len(pixels), *size), dtype=np.uint8)
    whole[:, ~hidden] = pixels.reshape(len(pixels), -1)
    _edit(run, image, config, "uncropping", "uncropped", whole, hidden, note, asked, results)


@options.with_drawing
def restore(
    run: options.RunPath,
    image: pictures.OwnImagePath,
    *,
    asked: dict[str, Any],
    results: dict[str, Any],
) -> None:
    """Restore a picture that JPEG has compressed too much."""
    config = _config(run, "jpeg", asked)
    pixels, note = _fitted(pictures.read_own(image, config), config)
    _edit(run, image, config, "jpeg", "restored", pixels, None, note, asked, results)


@options.with_drawing
def upscale(
    run: options.RunPath,
    image: pictures.OwnImagePath,
    factor: Annotated[
        Literal["2", "4"], typer.Option(help="How many times as wide and as high the result is.")
    ] = "2",
    *,
    asked: dict[str, Any],
    results: dict[str, Any],
) -> None:
    """Enlarge a picture, and paint the detail that it lacks."""
    from unstir.data.degradations import resized

    config = _config(run, "super-resolution", asked)
    pixels, times = pictures.read_own(image, config), int(factor)
    note = ""
    if not config.network.any_size:
        height, width = (max(1, round(side / times)) for side in config.image_shape[1:])
        pixels, note = _resized(pixels, (height, width))
        large = resized(pixels, *config.image_shape[1:])
    else:
        large = resized(pixels, *(times * side for side in pixels.shape[1:]))
    _edit(run, image, config, "super-resolution", "upscaled", large, None, note, asked, results)


def _config(run: Path, task: str, asked: dict[str, Any]) -> DenoiserConfig:
    """Return the configuration of a model that does a task, and draws as is asked.

    Raises:
        InputError: If it does not.
    """
    from unstir.models.file import read_config

    _, config = read_config(run)
    config.require("edit")
    config.check_task(task, masked=task == "uncropping")  # type: ignore[attr-defined]
    config.drawing(asked)
    if config.classes:
        raise InputError("This model is told a label too: tell it in Python, run.edit(task, images, label=...)")
    config.hideable("Editing without it", config.told.keys() - {DEGRADED, TASK})
    return config  # type: ignore[return-value]


def _fitted(pixels: np.ndarray, config: DenoiserConfig) -> tuple[np.ndarray, str]:
    """Return a picture in a size that the model takes, and a sentence of what was done to it."""
    size = config.image_shape[1], config.image_shape[2]
    return (pixels, "") if config.network.any_size else _resized(pixels, size)


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, str]:
    """Return a picture (C, H, W) that covers a size, its centre cut out, and a sentence of what was done to it."""
    from unstir.data.decode import decode

    if pixels.shape[1:] == size:
        return pixels, ""
    note = f"The picture was resized to {size[1]} by {size[0]} pixels, as this network takes one size alone"
    return decode(pixels, size, len(pixels)), note


def _edit(
    run: Path,
    image: Path,
    config: DenoiserConfig,
    task: str,
    done: str,
    pixels: np.ndarray,
    hidden: np.ndarray | None,
    note: str,
    asked: dict[str, Any],
    results: dict[str, Any],
) -> None:
    """Edit a picture, uint8 (C, H, W), of which some pixels may be hidden, bool (H, W), and save the results."""
    n, seed = results["n"], results["seed"]
    place = picture_place(results["out"], run, f"edits/{image.stem}-{done}.png", pictures.endings(len(pixels)))
    report = Report(results["as_json"])
    if pixels.shape[1:] != config.image_shape[1:]:
        (height, width), (own_height, own_width) = pixels.shape[1:], config.image_shape[1:]
        note = f"The result has {width} by {height} pixels; the model was trained on {own_width} by {own_height}"
    report.say(note)

    import torch

    from unstir.models.file import load

    images = (torch.tensor(pixels) / 127.5 - 1).expand(n, *pixels.shape)
    mask = None if hidden is None else torch.tensor(hidden)[None, None]
    edited = load(run).edit(task, images, mask, seed=seed, batch=16, progress=True, **asked)  # type: ignore[operator]
    place = pictures.save_row(edited, place)
    values = {"run": str(run), "image": str(image), "task": task, "n": n, "seed": seed, "out": str(place)}
    values |= {"shape": list(pixels.shape), "note": note}
    report.end(f"The {done} picture is in {place}" if n == 1 else f"{n} {done} pictures are in {place}", values)
