"""``unstir train --dry-run``: the configuration, and what training it would take, measured on a few steps."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from unstir.cli.quantities import duration, size
from unstir.cli.report import Report
from unstir.data.config import DataConfig
from unstir.data.sources import DATASETS

if TYPE_CHECKING:
    from unstir.training.config import Config


def describe(config: Config, out: Path, report: Report) -> None:
    """Say what ``unstir train`` would do. What is printed is YAML: what was measured stands in comments."""
    import yaml

    asked = config.asked()
    if not report.as_json:
        report.say(yaml.safe_dump(asked, sort_keys=False))

    from unstir.models.file import load_parts
    from unstir.training.estimate import estimate, machine, parameter_count, synthetic
    from unstir.training.start import with_data

    known = expected_images(config.data)
    if known is None:
        from unstir.data.load import load

        splits = load(config.data)
    else:
        splits = synthetic(*known)
    config = with_data(config, splits.train, out)
    parts = load_parts(config.model.parts, out)
    parameters, (where, precision) = parameter_count(config.model, parts), machine(config.model.precision)
    found = estimate(config, splits, parts)
    images, seconds = end(config, found.images_per_second)
    lines = [
        f"out: {out}",
        f"images: {'x'.join(map(str, splits.train.shape))}",
        f"parameters: {parameters:,}",
        f"memory: about {size(found.state_bytes + found.activation_bytes)}, of which "
        f"{size(found.activation_bytes)} for a batch of {config.training.batch}",
        f"speed: {found.images_per_second:,.3g} images/s on {where} in {precision}, measured at batch "
        f"{found.measured_batch}",
        f"end: after {duration(seconds)}, about {images:,} images in {images // config.training.batch:,} steps",
    ]
    values = {
        "config": asked,
        "out": str(out),
        "shape": list(splits.train.shape),
        "parameters": parameters,
        "device": where,
        "precision": precision,
        **asdict(found),
        "images": images,
        "steps": images // config.training.batch,
        "seconds": round(seconds, 1),
    }
    report.end("\n".join(f"# {line}" for line in lines), values)


def expected_images(data: DataConfig) -> tuple[tuple[int, int, int], int] | None:
    """Return the shape (C, H, W) and the number of classes of a named set without fetching it.

    None if they cannot be known without the images. Sets without a list of classes here count as having ten,
    which makes hardly a difference to a network.
    """
    named = DATASETS.get(data.source)
    if named is None or not (named.size or data.size):
        return None
    channels = data.channels or (named.size[0] if named.size else 3)
    height, width = data.size or named.size[1:]  # type: ignore[index]
    return (channels, height, width), 10 if named.labelled else 0


def end(config: Config, images_per_second: float) -> tuple[int, float]:
    """Return after how many images and seconds the budget would be spent."""
    training = config.training
    if training.seconds is not None:
        return int(training.seconds * images_per_second), training.seconds
    assert training.images is not None
    steps = -(-training.images // training.batch)
    return steps * training.batch, steps * training.batch / images_per_second
