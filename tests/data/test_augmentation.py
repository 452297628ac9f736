"""What is told of an altered image is what was done to it, and nothing is told of one that is as it was."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from unstir.data.augmentation import WIDTH, altered, drawn
from unstir.data.dataset import ImageData, Splits
from unstir.diffusion import Condition
from unstir.errors import InputError

FLIP, SCALE, STRETCH, COSINE, SINE, ACROSS, DOWN, BRIGHT, CONTRAST, HUE_COSINE, HUE_SINE, SATURATION = range(WIDTH)


def told(**numbers: float) -> Tensor:
    row = torch.zeros(1, WIDTH)
    for name, value in numbers.items():
        row[0, globals()[name.upper()]] = value
    return row


def pictures(n: int = 3, channels: int = 3, height: int = 12, width: int = 12) -> Tensor:
    """Smooth images, of which bicubic interpolation loses little."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, channels, 4, 4, generator=generator) * 1.6 - 0.8
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(-0.9, 0.9)


def test_what_is_not_altered_is_the_same_to_the_bit() -> None:
    x = torch.rand(4, 3, 8, 8) * 2 - 1
    assert torch.equal(altered(x, torch.full((4, WIDTH), math.nan)), x)
    assert torch.equal(altered(x, torch.zeros(4, WIDTH)), x)
    half = torch.zeros(4, WIDTH)
    half[1, FLIP] = 1
    assert torch.equal(altered(x, half)[[0, 2, 3]], x[[0, 2, 3]])


@pytest.mark.parametrize("shape", [(12, 12), (9, 16)])
def test_mirrored_turned_and_shifted_by_whole_pixels(shape: tuple[int, int]) -> None:
    x = pictures(1, 2, *shape)
    assert torch.allclose(altered(x, told(flip=1)), x.flip(3), atol=1e-5)
    assert torch.allclose(altered(x, told(cosine=-2)), x.flip((2, 3)), atol=1e-4)  # half a turn
    if shape[0] == shape[1]:
        quarter = altered(x, told(cosine=-1, sine=1))  # clockwise: what was right is below
        assert torch.allclose(quarter, x.rot90(-1, (2, 3)), atol=1e-4)
    right = altered(x, told(across=2 / shape[1]))
    assert torch.allclose(right[..., 2:], x[..., :-2], atol=1e-4)
    down = altered(x, told(down=3 / shape[0]))
    assert torch.allclose(down[..., 3:, :], x[..., :-3, :], atol=1e-4)


def test_scaled_and_stretched_about_the_middle() -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 33), torch.linspace(-1, 1, 33), indexing="ij")
    dot = torch.exp(-8 * (x**2 + y**2))[None, None] - 0.5

    def spread(image: Tensor) -> tuple[float, float]:
        weight = image[0, 0] + 0.5
        return tuple(float((weight * along**2).sum() / weight.sum()) ** 0.5 for along in (x, y))  # type: ignore[return-value]

    across, down = spread(dot)
    for numbers, by in (({"scale": 0.3}, (0.3, 0.3)), ({"stretch": -0.25}, (-0.25, 0.25))):
        found = spread(altered(dot, told(**numbers)))
        assert found[0] / across == pytest.approx(2 ** by[0], rel=0.05)
        assert found[1] / down == pytest.approx(2 ** by[1], rel=0.05)


def test_colours_and_transparency() -> None:
    x = 0.5 * pictures(2)
    assert torch.allclose(altered(x, told(bright=0.1).expand(2, -1)), x + 0.1, atol=1e-6)
    assert torch.allclose(altered(x, told(contrast=0.4).expand(2, -1)), x * 2**0.4, atol=1e-6)
    gray = altered(x, told(saturation=-30).expand(2, -1))
    assert torch.allclose(gray, x.mean(1, keepdim=True).expand_as(x), atol=1e-5)
    third = altered(x, told(hue_cosine=-1.5, hue_sine=3**0.5 / 2).expand(2, -1))  # red becomes green
    assert torch.allclose(third, x.roll(1, 1), atol=1e-5)
    with_alpha = torch.cat([x, torch.rand(2, 1, 12, 12)], 1)
    changed = altered(with_alpha, told(bright=0.2, hue_sine=0.5, contrast=-0.3).expand(2, -1))
    assert torch.equal(changed[:, 3], with_alpha[:, 3]) and not torch.allclose(changed[:, :3], x)
    gray, both = x[:, :1], told(bright=0.1, saturation=1).expand(2, -1)
    assert torch.allclose(altered(gray, both), gray + 0.1, atol=1e-6)


def test_each_change_is_as_frequent_as_asked_and_the_same_for_whoever_asks() -> None:
    indices, passes = np.arange(4000) % 800, np.arange(4000) // 800
    found = drawn(indices, passes, 0.2)
    plain = np.isnan(found).all(1)
    assert (np.isnan(found).any(1) == plain).all()
    assert plain.mean() == pytest.approx(0.5 * 0.8**7, abs=0.02)
    assert (np.nan_to_num(found[:, FLIP]) != 0).mean() == pytest.approx(0.5, abs=0.02)
    for column in (SCALE, STRETCH, SINE, ACROSS, BRIGHT, CONTRAST, SATURATION):
        assert (np.nan_to_num(found[:, column]) != 0).mean() == pytest.approx(0.2, abs=0.02)
    some = np.random.default_rng(0).permutation(4000)[:50]
    assert np.array_equal(drawn(indices[some], passes[some], 0.2), found[some], equal_nan=True)
    assert not np.array_equal(found[:800], found[800:1600], equal_nan=True)  # another pass, other changes
    assert np.isnan(drawn(indices, passes, 0.0)).all()


def test_a_set_alters_training_images_alone_and_only_for_who_is_told() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
    data = ImageData.from_array(pixels)
    splits = Splits(data, data).augmented(0.1)
    rows = np.arange(40)
    plain = data.examples(rows)[0]
    x, known = splits.train.examples(rows, names=("augmentation",), passes=0 * rows)
    hidden = Condition.of(known).parts["augmentation"][1]
    assert 0 < int(hidden.sum()) < 40 and torch.equal(x[hidden], plain[hidden])
    assert not torch.isclose(x[~hidden], plain[~hidden]).flatten(1).all(1).any()
    assert torch.equal(splits.train.examples(rows, names=(), passes=0 * rows)[0], plain)
    looked_at, known = splits.train.examples(rows)  # in no training
    assert torch.equal(looked_at, plain) and known["augmentation"].isnan().all()
    held_out, known = splits.held_out.examples(rows, names=("augmentation",))
    assert torch.equal(held_out, plain) and known["augmentation"].isnan().all()
    assert splits.train.facts()["augmentation"] == {"kind": "numbers", "width": WIDTH}
    with pytest.raises(InputError, match="degraded ones as they are"):
        Splits(data, data).degraded(("inpainting",)).augmented(0.1)
