"""``unstir train --dry-run``: the configuration, and what training it would take, measured on a few steps."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.cli.places import check_writable
from unstir.cli.report import Report
from unstir.cli.room import check_training
from unstir.data.config import DataConfig
from unstir.data.kept import at_hand
from unstir.data.sources import DATASETS
from unstir.files import write_new
from unstir.networks.told import AUGMENTATION, DEGRADED, TASK
from unstir.quantities import duration, size

if TYPE_CHECKING:
    from unstir.data.dataset import ImageData
    from unstir.models.model import Model
    from unstir.training.config import Config
    from unstir.training.plan import Plan

SHOWN, SIDE = 9, 640
"""Images in the picture, and the pixels of its side up to which small ones are enlarged."""


def describe(planned: Config | Plan, out: Path, report: Report) -> None:
    """Say what ``unstir train`` would do. What is printed is YAML: what was measured stands in comments."""
    import yaml

    from unstir.training.plan import Plan, check_plan
    from unstir.training.start import check_out

    if not isinstance(planned, Plan):
        check_writable(out)
        check_out(planned, out)
        if not report.as_json:
            report.say(yaml.safe_dump(planned.asked(), sort_keys=False))
        lines, values = price(planned, out, {}, picture_place(out))
        report.end("\n".join(f"# {line}" for line in lines), values)
        return
    check_writable(out)
    check_plan(planned, out)
    built: dict[Path, Model] = {}
    stages = {}
    for name, config in planned.stages.items():
        if not report.as_json:
            report.say(yaml.safe_dump({name: config.asked()}, sort_keys=False))
        lines, stages[name] = price(config, out / name, built, picture_place(out, f"-{name}"))
        report.say("\n".join(f"# {line}" for line in lines))
    total = sum(stage["seconds"] for stage in stages.values())
    report.end(f"# all stages: {duration(total)}", {"out": str(out), "stages": stages, "seconds": round(total, 1)})


def picture_place(out: Path, stage: str = "") -> Path:
    """Return where the picture of a run's images goes: beside its folder, which is not made."""
    folder = out if out.name not in ("", "..") else out.resolve()
    return folder.with_name(f"{folder.name}{stage}-dry-run.png")


def price(config: Config, out: Path, built: dict[Path, Model], picture: Path) -> tuple[list[str], dict[str, Any]]:
    """Return what training a run would take, as lines for a person and as values.

    Where its images are at hand, the first that its network would see are saved in one picture.

    Args:
        config: The run.
        out: Its folder.
        built: The models of earlier stages by their folders, which are not there yet; this one is added.
        picture: Where the picture goes; if there is one, beside it.
    """
    from unstir.models.file import load_parts, part_path
    from unstir.processes import processes
    from unstir.training.captions import with_captions
    from unstir.training.estimate import estimate, few, machine, parameter_count, synthetic

    beyond = {*config.model.reads} - {"label", DEGRADED, TASK, AUGMENTATION}  # columns that noise cannot stand for
    known = None if beyond or at_hand(config.data) else expected_images(config.data)
    if known is None:
        from unstir.data.load import load

        splits = whole = load(config.data)
        if config.model.texts or config.model.parts:
            splits = few(splits)  # whose captions are read in a second, and whose codes found
    else:
        whole = None
        splits = synthetic(*known).degraded(config.data.degradations).augmented(config.data.augment)
    parts, described = {}, {}
    for name, part in config.model.parts.items():
        place = part_path(part, out).resolve()
        if place in built:
            parts[name] = built[place]
        else:
            parts |= load_parts({name: part}, out)
        described[name] = part.model_copy(update={"model": parts[name].config})
    seen = config.model.model_copy(update={"parts": described})
    config = config.model_copy(update={"model": seen})
    train = splits.train
    config = with_captions(config.seeing(train.shape, train.facts(), train.fingerprint), train)
    parameters, (where, precision) = parameter_count(config.model, parts), machine(config)
    check_training(parameters, config.training.batch, train.shape)
    built[out.resolve()] = config.model.build(parts).eval().to(processes().device)
    found = estimate(config, splits, parts)
    images, seconds = end(config, found.images_per_second)
    lines = [
        f"out: {out}",
        f"images: {'x'.join(map(str, train.shape))}{f'; {splits.note}' if splits.note else ''}",
        f"parameters: {parameters:,}",
        f"memory: about {size(found.state_bytes + found.activation_bytes)}, of which "
        f"{size(found.activation_bytes)} for a batch of {config.training.batch}",
        f"speed: {found.images_per_second:,.3g} images/s on {where} in {precision}, measured at batch "
        f"{found.measured_batch}",
        f"end: after {duration(seconds)}, about {images:,} images in {images // config.training.batch:,} steps",
    ]
    values = {
        "config": config.asked(),
        "out": str(out),
        "shape": list(train.shape),
        "parameters": parameters,
        "device": where,
        "precision": precision,
        **asdict(found),
        "images": images,
        "steps": images // config.training.batch,
        "seconds": round(seconds, 1),
    }
    if whole is not None and train.shape[0] in (1, 3, 4) and processes().is_main_process:
        values["picture"] = str(_save_first(config, whole.train, picture))
        lines.append(f"picture: {values['picture']}, {SHOWN} images as the network will see them")
    return lines, values


def _save_first(config: Config, images: ImageData, place: Path) -> Path:
    """Save the images that training sees first, enlarged pixel by pixel, in one picture, and return where."""
    from PIL import Image

    from unstir.models.samples import Samples
    from unstir.training.batches import first_images

    grid = Samples(first_images(config, images, SHOWN)).grid(columns=3)
    factor = max(1, SIDE // max(grid.size))
    grid = grid.resize((factor * grid.width, factor * grid.height), Image.Resampling.NEAREST)
    return write_new(place, grid.save)


def expected_images(data: DataConfig) -> tuple[tuple[int, int, int], int] | None:
    """Return the shape (C, H, W) and the number of classes of a named set without fetching it.

    None if they cannot be known without the images.
    """
    named = DATASETS.get(data.source)
    if named is None or not (named.size or data.size):
        return None
    channels = data.channels or (named.size[0] if named.size else 3)
    height, width = data.size or named.size[1:]  # type: ignore[index]
    return (channels, height, width), named.classes if named.labelled else 0


def end(config: Config, images_per_second: float) -> tuple[int, float]:
    """Return after how many images and seconds the budget would be spent."""
    training = config.training
    if training.seconds is not None:
        return int(training.seconds * images_per_second), training.seconds
    assert training.images is not None
    steps = -(-training.images // training.batch)
    return steps * training.batch, steps * training.batch / images_per_second
