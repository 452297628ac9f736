"""``unstir evaluate`` of a codec: how near held-out images come back from their codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.cli.places import default_place
from unstir.cli.report import Report
from unstir.errors import InputError
from unstir.files import write_new

if TYPE_CHECKING:
    from unstir.models.config import ModelConfig

_MEANINGS = {
    "psnr": "decibels; higher is nearer",
    "ssim": "structural similarity, at most 1; higher is nearer",
    "distance": "in the features of efficientnet-lite0, from 0 to 2; lower is nearer for the eye",
    "fd": "Fréchet distance to the images themselves, on the same network's features; lower is better",
    "codes_in_use": "share of the codebook that is met in these images",
}

SHOWN = 10
"""Images in the picture."""


def codec_in(config: ModelConfig) -> ModelConfig:
    """Return the configuration of a model's codec, or of the model that is one.

    Raises:
        InputError: If there is none.
    """
    codec = config.asking("encode")
    if codec.codes is None:
        raise InputError(f"What comes back from codes is asked of a codec, and this model is {codec.about}")
    return codec


def reconstruction(
    run: Path,
    config: ModelConfig,
    n: int,
    seed: int,
    asked: dict[str, Any],
    batch: int,
    data: str | None,
    as_json: bool,
) -> None:
    """Encode and decode held-out images of a run and measure them; the arguments are those of ``unstir evaluate``.

    Raises:
        InputError: If the run is no codec and has none, its images are of another shape, or drawing was asked for.
    """
    from unstir.data.sources import find
    from unstir.training.run_folder import data_of

    codec_in(config)
    vain = [name for name, value in asked.items() if value is not None]
    if vain:
        raise InputError(f"--{vain[0].replace('_', '-')} is for drawing images, and reconstruction draws none")
    source = data_of(run, data)
    find(source.source)
    place = default_place(run, f"evaluations/reconstruction-n{n}-seed{seed}.json")

    from unstir.data.load import load as load_images

    splits = load_images(source)
    if splits.held_out.shape != config.image_shape:
        ours, theirs = ("x".join(map(str, shape)) for shape in (config.image_shape, splits.held_out.shape))
        raise InputError(f"The run encodes images of {ours}, and those of '{splits.held_out.name}' are {theirs}")

    import numpy as np

    from unstir.evaluation.reconstruction import measure_reconstruction
    from unstir.models.file import load
    from unstir.processes import processes
    from unstir.training.preview import reconstructed

    count = min(n, len(splits.held_out))
    report = Report(as_json)
    report.say(f"Encoding and decoding {count:,} held-out images of {source.source} by {run}")
    main, model = processes().is_main_process, load(run).asking("decode")
    figures = measure_reconstruction(model, splits, n=n, seed=seed, batch=batch, progress=main)
    if not main:
        return
    shown, _ = splits.held_out.examples(np.arange(min(SHOWN, len(splits.held_out))), names=())
    picture = str(write_new(place.with_suffix(".png"), reconstructed(model, shown, len(shown)).save))
    values = {
        "run": str(run),
        **figures,
        "codes": model.config.codes,
        "images": count,
        "data": source.source,
        "seed": seed,
        "picture": picture,
    }
    report.say(f"Some of them, as they are and below as they come back, are in {picture}")
    report.keep(place, values, [(name, f"{value:.4g}", _MEANINGS[name]) for name, value in figures.items()])
