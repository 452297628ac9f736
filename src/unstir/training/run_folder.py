"""A run folder: where its files are, and reading its configuration. No torch."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from unstir.config import checked
from unstir.data.config import DataConfig
from unstir.errors import InputError
from unstir.files import HIDDEN, read_yaml, visible, whole_file
from unstir.models.file import CHECKPOINTS, NAME, PLAN, read_config, stages_in
from unstir.training.config import Begun, Config

_PICTURE = re.compile(r"images-(\d+)\.png")


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: The folder, such as ``runs/mnist``.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def model(self) -> Path:
        """The averaged weights, with the configuration in the metadata."""
        return self.path / NAME

    @property
    def metrics(self) -> Path:
        """One JSON object a line for each log step."""
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """Fixed-seed pictures over training."""
        return self.path / "samples"

    @property
    def film(self) -> Path:
        """These pictures in a row."""
        return self.samples / "film.webp"

    @property
    def losses(self) -> Path:
        """The picture of its losses."""
        return self.path / "loss.png"

    def picture(self, images: int) -> Path:
        """Return where the picture lies that was drawn after so many images."""
        return self.samples / f"images-{images:010d}.png"

    def pictures(self) -> list[tuple[int, Path]]:
        """Return the pictures that training drew and after how many images each, in this order."""
        found = self.samples.glob("images-*.png")
        return sorted((int(named[1]), path) for path in found if (named := _PICTURE.fullmatch(path.name)))

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        return sorted((self.path / CHECKPOINTS).glob("step-*.safetensors"))

    def checkpoint(self, step: int) -> Path:
        """Return where the checkpoint of a step lies."""
        return self.path / CHECKPOINTS / f"step-{step:09d}.safetensors"

    @property
    def untrained(self) -> bool:
        """Whether a run was begun here, and nothing of it saved yet."""
        return self.config.exists() and not self.checkpoints() and not self.model.exists()

    def read_config(self) -> Config:
        """Return the configuration the run was started with.

        Raises:
            InputError: If the folder holds no readable configuration.
        """
        if not self.config.exists():
            raise InputError(f"{self.path} is no run folder: it has no {self.config.name}")
        values = read_yaml(self.config)
        if "model" not in values and "network" in values:
            raise InputError(
                f"{self.path} is a run of an older unstir, which this one does not read: train it again"
            )
        return checked(Config, values)

    def write_config(self, config: Config) -> None:
        """Write the configuration."""
        found = {"fingerprint": config.fingerprint, "begun": config.begun.model_dump()}
        text = yaml.safe_dump(config.asked() | found, sort_keys=False)
        with whole_file(self.config) as partial:
            partial.write_text(text)


def begun_in(out: Path) -> dict[Path, Begun]:
    """Return what the runs in a folder were begun with, by their own folders: its own, or of a plan its stages'.

    Runs that have taken no step that lasts are left out. Where a run did not note its budget, it is that which it
    has now.

    Raises:
        InputError: If a configuration cannot be read.
    """
    plan = (out / PLAN).exists()
    runs = [RunFolder(place) for place in ([out / stage for stage in stages_in(out)] if plan else [out])]
    found = {run.path: run.read_config() for run in runs if run.config.exists() and run.checkpoints()}
    return {
        path: config.begun
        if plan or config.begun.budget is not None
        else config.begun.model_copy(update={"budget": config.training.budget})
        for path, config in found.items()
    }


_WRITTEN = (
    *("config.yaml", NAME, "metrics.jsonl", "loss.png", "events.out.tfevents.*"),
    *("samples/images-*.png", "samples/film.webp"),
    *("checkpoints/step-*.safetensors", "checkpoints/quarter-*.safetensors", PLAN, "**/.DS_Store"),
)
"""What training writes into a run's folder, or a plan's."""


def check_only_run(folder: Path) -> None:
    """Check that a run's folder, or a plan's, holds nothing but what training wrote.

    Raises:
        InputError: If it does hold more; it names the first.
    """
    runs = [folder, *(folder / stage for stage in (stages_in(folder) if (folder / PLAN).exists() else ()))]
    own = {path for run in runs for pattern in _WRITTEN for path in run.glob(pattern)}
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(HIDDEN) for part in path.relative_to(folder).parts)
        if path not in own and not hidden and (path.is_symlink() or not path.is_dir()):
            raise InputError(
                f"{path} would be lost, which training did not write: move it elsewhere, or give another --out"
            )


def empty(folder: Path) -> None:
    """Remove what a run's folder, or a plan's, shows; what is hidden, such as the lock of who holds it, stays."""
    for place in visible(folder):
        shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()


def images_of(run: Path) -> str:
    """Return the fingerprint of the images that a run was trained on; "" of a model without its run."""
    folder = RunFolder(read_config(run)[0].parent)
    return folder.read_config().fingerprint if run.is_dir() and folder.config.exists() else ""


def data_of(run: Path, source: str | None = None) -> DataConfig:
    """Return the data of a run, or another source of it: of a model file without a run, in the model's shape.

    Raises:
        InputError: If the run's data cannot be known and none is given.
    """
    weights, config = read_config(run)
    folder = RunFolder(weights.parent)
    if run.is_dir() and folder.config.exists():
        data = folder.read_config().data
        return data if source is None else data.model_copy(update={"source": source})
    if source is None:
        raise InputError(
            f"{run} is a model without its run, and names no data: give a run folder, or to evaluate it say which "
            "data with --data"
        )
    channels, *size = config.image_shape
    return checked(DataConfig, {"source": source, "size": size, "channels": channels})
