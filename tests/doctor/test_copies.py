"""Copies of training images are counted, mirrored ones too."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from unstir.data.dataset import ImageData, Splits
from unstir.doctor import copies
from unstir.models.samples import Samples


def patient(copied: int, flip: bool, mirror: bool = False, training: int = 40) -> Any:
    """Return a run that draws ten images, some of them training images, or these mirrored."""
    pixels = torch.randint(0, 256, (training + 20, 3, 8, 8), generator=torch.manual_seed(0)).to(torch.uint8)
    train, held_out = (ImageData.from_array(part.numpy()) for part in pixels.split([training, 20]))
    drawn = torch.rand(10, 3, 8, 8, generator=torch.manual_seed(1)) * 2 - 1
    theirs = pixels[:copied] / 127.5 - 1
    drawn[:copied] = theirs.flip(-1) if mirror else theirs
    return SimpleNamespace(
        splits=Splits(train, held_out),
        walked=SimpleNamespace(samples=Samples(drawn)),
        some=lambda data, count: data.examples(range(min(count, len(data)))),
        begun=SimpleNamespace(data=SimpleNamespace(flip=flip, augment=0.0)),
        config=SimpleNamespace(verbs=("draw",)),
    )


@pytest.mark.parametrize(
    ("drawn", "says"),
    [
        ({"copied": 0, "flip": True}, "none copies"),
        ({"copied": 1, "flip": False}, "1 copies"),
        ({"copied": 3, "flip": True, "mirror": True}, "3 copy"),
        ({"copied": 3, "flip": False, "mirror": True}, "none copies"),
    ],
    ids=str,
)
def test_a_first_look_counts_copies(drawn: dict[str, Any], says: str) -> None:
    advice = "; more images, or less training, would make fewer" if says == "3 copy" else ""
    said = f"Of 10 images drawn {says} a training image, of 10 held-out ones none{advice}"
    assert copies.first_look(patient(**drawn)) == said


def test_of_many_training_images_none_is_looked_for() -> None:
    assert copies.first_look(patient(3, flip=False, training=copies.FEW + 1)) == ""


def test_a_mirror_image_of_its_own_is_not_the_next_nearest() -> None:
    """Of a symmetric image both ways find the same training image, and the next is another one."""
    one = patient(0, flip=True)
    pixels = one.splits.train.pixels.copy()
    pixels[0] = (pixels[0].astype(int) + pixels[0][..., ::-1]) // 2
    train = ImageData.from_array(pixels)
    one.splits = Splits(train, one.splits.held_out)
    images = train.examples([0])[0] + 0.01
    found, _ = copies.nearest(images, one)
    assert found.rows[0, 0] == 0 != found.rows[0, 1] and found.copies().all()
    assert found.distances[0, 0] < found.distances[0, 1]
