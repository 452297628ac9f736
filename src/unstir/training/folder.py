"""A run folder: where its files are, and reading its configuration. No torch."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from unstir.errors import InputError
from unstir.files import whole_file
from unstir.training.config import Config
from unstir.training.settings import checked


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
        return self.path / "model.safetensors"

    @property
    def metrics(self) -> Path:
        """One JSON object a line for each log step."""
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """Fixed-seed pictures over training."""
        return self.path / "samples"

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*.safetensors"))

    def checkpoint(self, step: int) -> Path:
        """Return where the checkpoint of a step lies."""
        return self.path / "checkpoints" / f"step-{step:09d}.safetensors"

    def remove_partial_files(self) -> None:
        """Remove what processes that were killed while writing have left."""
        for partial in list(self.path.rglob(".*.partial-*")):
            shutil.rmtree(partial, ignore_errors=True)

    def read_config(self) -> Config:
        """Return the configuration the run was started with.

        Raises:
            InputError: If the folder holds no readable configuration.
        """
        try:
            values = yaml.safe_load(self.config.read_text())
        except FileNotFoundError:
            raise InputError(f"{self.path} is no run folder: it has no config.yaml") from None
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{self.config} cannot be read: {error}") from None
        if not isinstance(values, dict):
            raise InputError(f"{self.config} is not the configuration of a run")
        return checked(values)

    def write_config(self, config: Config) -> None:
        """Write the configuration."""
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        with whole_file(self.config) as partial:
            partial.write_text(text)


def model_file(path: Path) -> tuple[Path, Config]:
    """Return the weights' file of a run folder or a single ``.safetensors`` model, and the model's configuration.

    The weights are not loaded, but a file cut short is noticed.

    Raises:
        InputError: If the path is missing, is neither, has no weights yet, or the file is damaged.
    """
    weights = path
    if path.is_dir():
        folder = RunFolder(path)
        folder.read_config()
        weights = folder.model
        if not weights.exists():
            raise InputError(f"{path} has no model.safetensors yet: training has not reached a first checkpoint")
    if not weights.exists():
        raise InputError(f"There is no run folder or model file at {path}")
    metadata = read_metadata(weights)
    try:
        values = json.loads(metadata["config"])
    except (KeyError, ValueError):
        raise InputError(f"{weights} is a safetensors file, but it does not hold an unstir model") from None
    return weights, checked(values)


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file.

    Raises:
        InputError: If the file cannot be read, is not of this kind, or is cut short.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged or no safetensors file: {error}") from None
