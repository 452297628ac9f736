"""``unstir evaluate --metrics restoration``: how near restored held-out images come to the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.cli.places import default_place
from unstir.cli.report import Report
from unstir.errors import InputError
from unstir.files import write_new

if TYPE_CHECKING:
    from unstir.models.config import ModelConfig

_HEAD = ("task", "", "PSNR", "SSIM", "distance")
_NAMES = {"input": "input", "mean_colour": "mean colour", "model": "model"}


def restoration(
    run: Path,
    config: ModelConfig,
    n: int,
    seed: int,
    asked: dict[str, Any],
    batch: int,
    data: str | None,
    as_json: bool,
) -> None:
    """Restore held-out images of a run and measure them; the arguments are those of ``unstir evaluate``.

    Raises:
        InputError: If the run is told no degraded pictures, or its images are of another shape.
    """
    from unstir.data.sources import find
    from unstir.training.run_folder import data_of

    config.require("edit")
    sampling = config.drawing(asked)
    source = data_of(run, data)
    find(source.source)
    place = default_place(run, f"evaluations/restoration-n{n}-seed{seed}.json")

    from unstir.data.load import load as load_images

    splits = load_images(source)
    if splits.held_out.shape != config.image_shape:
        ours, theirs = ("x".join(map(str, shape)) for shape in (config.image_shape, splits.held_out.shape))
        raise InputError(f"The run restores images of {ours}, and those of '{splits.held_out.name}' are {theirs}")

    from unstir.evaluation.restoration import measure_restoration, restored_picture
    from unstir.models.file import load
    from unstir.processes import processes

    count = min(n, len(splits.held_out))
    report = Report(as_json)
    report.say(f"Restoring {count:,} held-out images of {source.source} by {run}, in each of its tasks")
    main, model = processes().is_main_process, load(run)
    figures = measure_restoration(model, splits, n=n, seed=seed, batch=batch, progress=main, **asked)  # type: ignore[arg-type]
    if not main:
        return
    values = {
        "run": str(run),
        "restoration": figures,
        "images": count,
        "data": source.source,
        "seed": seed,
        "sampling": sampling.model_dump(mode="json"),
    }
    picture = restored_picture(model, splits, seed=seed, **asked)  # type: ignore[arg-type]
    values["picture"] = str(write_new(place.with_suffix(".png"), picture.save))
    report.say(f"Some of them, for each task as they are, as is told and as restored, are in {values['picture']}")
    report.keep(place, values, [_HEAD, *_rows(figures)])


def _rows(figures: dict[str, dict[str, dict[str, float]]]) -> list[tuple[str, ...]]:
    """Return a row for each task and each of what is measured of it."""
    return [
        (
            task,
            _NAMES[name],
            f"{found['psnr']:.2f} dB",
            f"{found['ssim']:.3f}",
            f"{found['distance']:.4f}" if "distance" in found else "",
        )
        for task, every in figures.items()
        for name, found in every.items()
    ]
