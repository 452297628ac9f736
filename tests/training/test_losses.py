"""The picture of a run's losses shows what its log has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from unstir.training.losses import draw_losses, losses, save_losses
from unstir.training.run_folder import RunFolder

LOG = [
    {"step": 1, "images": 8, "loss": 0.9, "gradient_norm": 3.0, "learning_rate": 0.1, "validation_loss": 0.8},
    {"step": 2, "images": 16, "loss": float("nan"), "seconds": 3.0},
    {"step": 3, "images": 24, "loss": 0.5, "other": 9.0, "validation_loss": 0.7},
    {"step": 4, "images": 32, "loss": 0.4, "other": 0.5},
]


def test_each_loss_is_drawn_in_training_and_on_held_out_images() -> None:
    assert losses(LOG) == ["loss", "other"]
    first, second = draw_losses(LOG).axes
    drawn = {line.get_label(): [list(values) for values in line.get_data()] for line in first.get_lines()}
    assert drawn == {"training": [[8, 24, 32], [0.9, 0.5, 0.4]], "held-out images": [[8, 24], [0.8, 0.7]]}
    assert (first.get_xlabel(), first.get_ylabel(), second.get_ylabel()) == ("images seen", "loss", "other")
    assert (first.get_yscale(), second.get_yscale()) == ("linear", "log")


@pytest.mark.parametrize("count", [0, 2, 4])
def test_what_is_too_short_to_be_seen_is_not_drawn(count: int, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in LOG[:count]))
    save_losses(folder)
    assert folder.losses.exists() == (count > 2)
    if count > 2:
        assert Image.open(folder.losses).width == 840
