"""``unstir edit interpolate`` and ``manipulate``, and ``vary`` by meaning: with a diffusion autoencoder.

A picture becomes two codes, z_sem, what it means, and x_T, all else; one of them or both are changed, and a
picture is drawn of them. The autoencoder is the run's own model, or the codec of its last stage.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unstir.cli import options
from unstir.cli.edit import pictures
from unstir.cli.places import picture_place
from unstir.cli.report import Report
from unstir.errors import InputError
from unstir.files import write_new

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from unstir.models.config import ModelConfig
    from unstir.models.diffae import DiffusionAutoencoder
    from unstir.models.diffae_config import LinearReaderConfig

STEPS = 50
"""Of DDIM there and back: what both codes lose over them can hardly be seen."""

BETWEEN = 4
"""Frames of a film from one picture of its strip to the next."""

Steps = Annotated[
    int, typer.Option(metavar="N", min=1, help="Steps of DDIM, from the picture to its noise and back.")
]
Several = Annotated[int, typer.Option("-n", metavar="N", min=2, max=100, help="How many pictures, in a row.")]
Out = Annotated[
    Path | None,
    typer.Option(help="The strip of pictures, such as x.png.", show_default="in RUN/edits, named by IMAGE"),
]


def interpolate(
    run: options.RunPath,
    image: pictures.ImagePath,
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="Another picture, where the way ends.")],
    n: Several = 9,
    steps: Steps = STEPS,
    out: Out = None,
    batch: options.Batch = 64,
    as_json: options.Json = False,
) -> None:
    """Draw the way from one picture to another, as a strip and as a film.

    A diffusion autoencoder goes straight from what the one means to what the other means, and on an arc from the
    noise of the one to that of the other.
    """
    _, config = autoencoder(run, steps)
    pixels = [read_picture(path, config) for path in (image, other)]
    name = f"edits/{image.stem}-to-{other.stem}.png"
    place = picture_place(out, run, name, pictures.endings(config.image_shape[0]))

    import torch

    from unstir.models.diffae import between
    from unstir.models.film import write_film
    from unstir.models.samples import Samples

    model = _loaded(run)
    codes, noise = _codes(model, pixels, steps)
    shares = torch.linspace(0, 1, BETWEEN * (n - 1) + 1)
    z = torch.lerp(codes[:1], codes[1:], shares[:, None, None, None])
    way = model.decode(z, noise=between(noise[0], noise[1], shares), steps=steps, batch=batch, progress=True)
    place = pictures.save_row(Samples(way[::BETWEEN]), place)
    frames = [Samples(frame[None]).grid().convert("RGB") for frame in way]
    film = write_new(place.with_name(f"{place.stem}-film.webp"), partial(write_film, frames, kind="WEBP"))
    values = {
        "run": str(run),
        "images": [str(image), str(other)],
        "out": str(place),
        "film": str(film),
        "n": n,
        "steps": steps,
    }
    Report(as_json).end(f"The way is in {place}, as a film in {film}", values)


def manipulate(
    run: options.RunPath,
    image: pictures.ImagePath,
    towards: Annotated[str, typer.Option(metavar="CLASS", help="The class to go towards, by name or number.")],
    by: Annotated[
        float,
        typer.Option(
            min=-100, max=100, help="How far, in deviations of each number of the code; below 0 away from it."
        ),
    ] = 0.3,
    n: Several = 5,
    steps: Steps = STEPS,
    out: Out = None,
    batch: options.Batch = 64,
    as_json: options.Json = False,
) -> None:
    """Turn an attribute of a picture up or down: a strip from the picture as it is to the whole way.

    What it means is moved towards a class, in the direction in which a linear classifier of the codes reads it;
    the noise stays.
    """
    whole, config = autoencoder(run, steps)
    reader = _directions(run, whole)
    from unstir.models.config import class_index

    number = class_index(reader.labels, towards, "class")
    pixels = read_picture(image, config)
    said = f"edits/{image.stem}-towards-{number}.png"
    place = picture_place(out, run, said, pictures.endings(len(pixels)))

    import torch

    from unstir.models.diffae_config import DIRECTIONS
    from unstir.models.file import load
    from unstir.models.samples import Samples

    root: Any = load(run)
    model, linear = root.asking("morph"), root.parts[DIRECTIONS]
    codes, noise = _codes(model, [pixels], steps)
    amounts = torch.linspace(0, by, n)
    z = codes + amounts[:, None, None, None] * linear.towards(number, 1.0).to(codes)
    way = model.decode(z, noise=noise.expand(n, *noise.shape[1:]), steps=steps, batch=batch, progress=True)
    place = pictures.save_row(Samples(way), place)
    read = linear.logits(z.to(linear.device)).softmax(1)[:, number]
    values = {
        "run": str(run),
        "image": str(image),
        "towards": reader.labels[number],
        "by": amounts.tolist(),
        "probability": read.tolist(),
        "out": str(place),
        "steps": steps,
    }
    Report(as_json).end(f"The picture, moved towards {reader.labels[number]}, is in {place}", values)


def alike(
    run: Path, image: Path, asked: dict[str, Any], results: dict[str, Any], batch: int, other: dict[str, object]
) -> None:
    """Draw pictures that mean what one does, each from noise of its own.

    Args:
        run: The model.
        image: The picture.
        asked: The options of drawing.
        results: How many, from which seed, and where they go.
        batch: How many are drawn together.
        other: By name what is of other models alone.

    Raises:
        InputError: If any of that is given, or a value is out of range.
    """
    config = autoencoder(run)[1]
    for name, value in other.items():
        if value is not None:
            raise InputError(f"What varies here is the noise alone, of {config.about}: leave --{name} out")
    sampling: Any = config.drawing(asked)
    pixels = read_picture(image, config)
    place = picture_place(results["out"], run, f"edits/{image.stem}-varied.png", pictures.endings(len(pixels)))
    n, seed, evaluations = results["n"], results["seed"], sampling.evaluations

    from unstir.models.samples import Samples

    report = Report(results["as_json"])
    report.say(pictures.told_cost("Varying: the same meaning from other noise", evaluations, n, False))
    model = _loaded(run)
    codes = model.encode(pictures.as_images(pixels)).expand(n, -1, -1, -1)
    drawn = model.decode(codes, range(seed, seed + n), batch=batch, progress=True, **asked)
    place = pictures.save_row(Samples(drawn), place)
    values = {
        "run": str(run),
        "image": str(image),
        "out": str(place),
        "n": n,
        "seed": seed,
        "evaluations": evaluations,
        "sampling": sampling.model_dump(mode="json"),
    }
    report.end(f"The {'variation is' if n == 1 else f'{n} variations are'} in {place}", values)


def from_both_codes(run: Path, images: list[Path], out: Path | None, seed: int, as_json: bool) -> None:
    """Draw of each picture a strip: itself, what both codes bring back, and what z_sem does with other noise.

    Args:
        run: The model.
        images: The pictures.
        out: Where the strip of the only one goes, or None.
        seed: Of the other noise.
        as_json: As of a report.

    Raises:
        InputError: If a picture cannot be read.
    """
    _, config = autoencoder(run, STEPS)
    found = [(image, read_picture(image, config)) for image in images]
    endings = pictures.endings(config.image_shape[0])
    places = [picture_place(out, run, f"edits/{image.stem}-reconstructed.png", endings) for image in images]

    import torch

    from unstir.evaluation.restoration import in_steps, psnr
    from unstir.models.samples import Samples

    report, model, rows = Report(as_json), _loaded(run), []
    for (image, pixels), place in zip(found, places, strict=True):
        x = pictures.as_images(pixels)
        codes, noise = _codes(model, [pixels], STEPS)
        both = model.decode(codes, noise=noise, steps=STEPS, progress=True)
        alone = model.decode(codes, [seed], steps=STEPS, progress=True)
        near = {
            name: float(psnr(in_steps(made), in_steps(x))) for name, made in {"psnr": both, "alone": alone}.items()
        }
        kept = str(pictures.save_row(Samples(torch.cat([x, both, alone])), place))
        rows.append({"image": str(image), "out": kept, **near})
        report.say(
            f"{image}: {near['psnr']:.2f} dB of both codes, {near['alone']:.2f} dB of z_sem alone, in {kept}"
        )
    where = rows[-1]["out"] if len(rows) == 1 else f"{places[0].parent}"
    report.end(f"What both codes keep is in {where}", {"run": str(run), "seed": seed, "images": rows})


def morphs(config: ModelConfig) -> bool:
    """Whether a model, or its codec, can be asked for what images mean."""
    try:
        config.asking("morph")
    except InputError:
        return False
    return True


def autoencoder(run: Path, steps: int | None = None) -> tuple[ModelConfig, ModelConfig]:
    """Return a model's configuration, and that of the diffusion autoencoder in it.

    Raises:
        InputError: If there is none, or it has no schedule of so many steps.
    """
    from unstir.models.file import read_config

    _, whole = read_config(run)
    config = whole.asking("morph")
    config.drawing({"steps": steps})
    return whole, config


def _directions(run: Path, config: ModelConfig) -> LinearReaderConfig:
    """Return the configuration of what reads classes in a model's codes.

    Raises:
        InputError: If it has none.
    """
    from unstir.models.diffae_config import DIRECTIONS, LinearReaderConfig

    found = config.parts[DIRECTIONS].model if DIRECTIONS in config.parts else None
    if not isinstance(found, LinearReaderConfig):
        raise InputError(
            f"{run} knows no direction to go in: it takes a plan, such as mnist-diffae, that was trained to its "
            "end on images with labels"
        )
    return found


def read_picture(path: Path, config: ModelConfig) -> np.ndarray:
    """Return any picture as the model's images are, uint8 (C, H, W): cut and scaled as in training.

    Raises:
        InputError: If it cannot be read, or no picture has so many channels.
    """
    from unstir.data.decode import decode_file

    channels, height, width = config.image_shape
    pictures.check_channels(channels)
    return decode_file(path, channels, (height, width))


def _loaded(run: Path) -> DiffusionAutoencoder:
    from unstir.models.file import load

    return load(run).asking("morph")  # type: ignore[return-value]


def _codes(model: DiffusionAutoencoder, pixels: list[np.ndarray], steps: int) -> tuple[Tensor, Tensor]:
    """Return both codes of pictures."""
    import torch

    x = torch.cat([pictures.as_images(each) for each in pixels])
    codes = model.encode(x)
    return codes, model.invert(x, codes=codes, steps=steps, progress=True)
