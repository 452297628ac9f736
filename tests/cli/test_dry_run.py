"""The picture of a dry run: what the network would see first, beside a run folder that is not made."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Listing = Callable[[Path], dict[str, tuple[int, int]]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure a moment: the speed does not matter here."""
    import unstir.training.estimate as module

    monkeypatch.setattr(module, "estimate", partial(module.estimate, patience=0.0))


def test_nine_images_are_shown_as_the_network_sees_them(tmp_path: Path, inside: Command) -> None:
    (tmp_path / "photos").mkdir()
    for shade in range(0, 240, 20):  # with a mark at the left, which mirroring moves
        image = Image.new("RGB", (32, 16), (shade, shade, 99))
        image.paste((255, 0, 0), (0, 0, 8, 16))
        image.save(tmp_path / "photos" / f"{shade}.png")
    line = ["train", "images", "--data", "photos", "--smoke", "--dry-run", "--ground", "#00ff00"]
    line += ["--set", "data.fit=pad", "--set", "data.size=16", "--out", "runs/x"]
    line += ["--set", "data.augment=0", "--set", "data.flip=true"]
    answer = inside(*line, folder=tmp_path)
    assert answer.returncode == 0, answer.stderr
    said = "# picture: runs/x-dry-run.png, 9 images as the network will see them"
    assert answer.stdout.splitlines()[-1] == said
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["x-dry-run.png"]
    pixels = np.asarray(Image.open(tmp_path / "runs" / "x-dry-run.png"))
    assert pixels.shape == (600, 600, 3)  # 16 pixels enlarged by 12, and 6 between
    seen, mirrored = set(), 0
    for y in range(6, 600, 198):
        for x in range(6, 600, 198):
            enlarged = pixels[y : y + 192, x : x + 192].reshape(16, 12, 16, 12, 3)
            image = enlarged[:, 0, :, 0]
            assert (enlarged == image[:, None, :, None]).all()
            assert (np.concatenate([image[:4], image[12:]]) == [0, 255, 0]).all()
            assert image[8, 8, 2] == 99 and sorted([image[8, 1, 2], image[8, 14, 2]]) == [0, 99]
            mirrored += image[8, 1, 2] == 99
            seen.add(image[8, 8, 0])
    assert len(seen) == 9 and 0 < mirrored < 9
    again = inside(*line, "--json", folder=tmp_path)
    assert json.loads(again.stdout)["picture"] == "runs/x-dry-run-2.png"


def test_there_is_no_picture_of_what_would_have_to_be_fetched(
    tmp_path: Path, inside: Command, listing: Listing
) -> None:
    answer = inside("train", "mnist-fc", "--set", "network.widths=[8]", "--dry-run", "--json", folder=tmp_path)
    assert answer.returncode == 0 and "picture" not in json.loads(answer.stdout)
    assert [*listing(tmp_path)] == ["."]
