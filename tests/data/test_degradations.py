"""What is told of each degradation, known to the pixel, and the same for whoever asks."""

from __future__ import annotations

from io import BytesIO
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from unstir.config import checked
from unstir.data import degradations as ways
from unstir.data.config import DataConfig, DegradationName
from unstir.data.dataset import ImageData, Splits
from unstir.data.load import load
from unstir.errors import InputError

NAMES = tuple(ways.DEGRADATIONS)


@pytest.fixture(scope="module")
def data() -> ImageData:
    random = np.random.default_rng(0)
    smooth = [Image.fromarray(random.integers(0, 256, (18, 21, 3), dtype=np.uint8)) for _ in range(40)]
    pixels = np.stack([np.asarray(one.filter(ImageFilter.GaussianBlur(2))).transpose(2, 0, 1) for one in smooth])
    set_ = ImageData.from_array(pixels)
    return Splits(set_, set_).degraded(NAMES).train


def only(data: ImageData, *names: str) -> ImageData:
    return Splits(data, data).degraded(names).train


def told(data: ImageData, rows: list[int], passes: int = 0) -> torch.Tensor:
    """What is told of images, float32 (B, C + 1, H, W)."""
    found = data.examples(rows, passes=np.full(len(rows), passes))[1]["degraded"]
    assert isinstance(found, torch.Tensor)
    return found


def test_the_configuration_knows_the_degradations_there_are() -> None:
    assert get_args(DegradationName) == NAMES


def test_an_image_and_a_pass_say_how_it_is_degraded_and_nothing_else_does(data: ImageData) -> None:
    rows = list(range(40))
    first, tasks = told(data, rows), data.examples(rows)[1]["task"]
    assert {*tasks.tolist()} == {*range(5)}  # type: ignore[union-attr]
    assert torch.equal(told(data, rows[::-1]).flip(0), first)
    assert torch.equal(told(data, [7]), first[7:8])
    second = told(data, rows, passes=1)
    same = (second == first).flatten(1).all(1)
    assert same.sum() < 10  # one colorization is like another, and so is one uncropping of a side
    mixed = data.examples([3, 3], passes=np.array([0, 1]))[1]["degraded"]
    assert torch.equal(mixed, torch.stack([first[3], second[3]]))  # type: ignore[arg-type]


def test_hidden_pixels_are_gray_and_the_others_those_of_the_image(data: ImageData) -> None:
    for name in ("inpainting", "uncropping"):
        images, found = data.examples(range(40))[0], told(only(data, name), [*range(40)])  # type: ignore[arg-type]
        hidden = found[:, -1:].bool()
        assert torch.equal(found[:, :-1], images.masked_fill(hidden, 0))
        assert hidden.flatten(1).any(1).all() and not hidden.flatten(1).all(1).any()
        assert {*found[:, -1].unique().tolist()} == {0, 1}
    for name in ("colorization", "jpeg", "super-resolution"):
        assert not told(only(data, name), [*range(40)])[:, -1].any()


def test_a_flip_comes_before(data: ImageData) -> None:
    mirrored = ImageData.from_array(np.ascontiguousarray(data.pixels[..., ::-1]))
    mirrored = Splits(mirrored, mirrored).degraded(NAMES).train
    rows = [*range(40)]
    found = data.examples(rows, np.ones(40, dtype=bool))[1]["degraded"]
    assert torch.equal(found, told(mirrored, rows))  # type: ignore[arg-type]
    assert not torch.equal(found, told(data, rows))  # type: ignore[arg-type]


@pytest.mark.parametrize("side", ways.SIDES)
@pytest.mark.parametrize("shape", [(32, 32), (17, 20), (5, 64)])
def test_uncropping_hides_half_of_the_area_on_its_side(side: str, shape: tuple[int, int]) -> None:
    height, width = shape
    hidden = ways.beyond(height, width, side)
    if side == "all":
        inside = [(~hidden).any(1).nonzero()[0], (~hidden).any(0).nonzero()[0]]
        for at, length in zip(inside, shape):
            assert abs(len(at) - length / 2**0.5) <= 0.5
            assert abs(at[0] - (length - 1 - at[-1])) <= 1
        assert (~hidden).sum() == len(inside[0]) * len(inside[1])
        return
    turned = {"left": hidden, "right": hidden[:, ::-1], "top": hidden.T, "bottom": hidden.T[:, ::-1]}[side]
    columns = turned.all(0)
    assert (turned == columns).all() and columns.sum() == turned.shape[1] // 2
    assert columns[: columns.sum()].all()


@pytest.mark.parametrize("side", ways.SIDES)
def test_a_canvas_is_what_leaves_the_picture_known(side: str) -> None:
    for height, width in ((1, 7), (20, 24), (31, 64), (45, 45)):
        hidden = ways.beyond(*ways.canvas(height, width, side), side)
        known = (~hidden).any(1).sum(), (~hidden).any(0).sum()
        assert known == (height, width) and (~hidden).sum() == height * width


def test_masks_of_inpainting_hide_something_and_never_all() -> None:
    generator = np.random.default_rng(0)
    for shape in ((8, 8), (32, 32), (20, 50)):
        areas = np.array(
            [[make(*shape, generator).mean() for make in (ways.box, ways.strokes)] for _ in range(300)]
        )
        assert (areas > 0).all() and (areas < 1).all()
        assert 0.05 < np.median(areas[:, 1]) < 0.5
        assert areas[:, 0].max() < 0.5


def test_jpeg_is_what_pillow_makes_of_it_at_a_quality_of_5_to_30(data: ImageData) -> None:
    seen = set()
    for row in range(40):
        picture = Image.fromarray(data.pixels[row].transpose(1, 2, 0))
        made = {}
        for quality in range(5, 31):
            file = BytesIO()
            picture.save(file, "JPEG", quality=quality)
            made[quality] = np.asarray(Image.open(file)).transpose(2, 0, 1)
        found = ((told(only(data, "jpeg"), [row])[0, :-1] + 1) * 127.5).round().numpy()
        seen |= {min(quality for quality, one in made.items() if (one == found).all())}
    assert min(seen) < 9 and max(seen) > 26


def test_super_resolution_keeps_what_a_smaller_picture_tells(data: ImageData) -> None:
    sizes = set()
    for row in range(12):
        found = told(only(data, "super-resolution"), [row])[0, :-1].numpy()
        image = data.pixels[row]
        for factor in (2, 4):
            small = ways.resized(image, round(18 / factor), round(21 / factor))
            if np.allclose(found, ways.resized(small, 18, 21) / 127.5 - 1, atol=1e-6):
                sizes.add(factor)
    assert sizes == {2, 4}
    gradient = np.broadcast_to(np.arange(0, 160, 5, dtype=np.uint8), (1, 32, 32))
    assert (
        np.abs(ways.resized(ways.resized(gradient, 16, 16), 32, 32).astype(int) - gradient)[..., 4:-4].max() <= 1
    )


def test_colours_that_are_equally_light_are_equally_gray(data: ImageData) -> None:
    pure = np.zeros((3, 1, 3), dtype=np.uint8)
    pure[:, 0] = np.diag([255, 255, 255])
    assert ways.grayed(pure)[:, 0].tolist() == [[76, 150, 29]] * 3
    found = ways.grayed(data.pixels[0])
    expected = np.asarray(Image.fromarray(data.pixels[0].transpose(1, 2, 0)).convert("L"), dtype=int)
    assert np.abs(found[0] - expected).max() <= 1
    gray = np.broadcast_to(found, (3, 18, 21))
    assert (ways.grayed(gray) == gray).all()


def test_the_network_is_told_a_channel_more_and_the_tasks_names(data: ImageData) -> None:
    assert only(data, "jpeg", "inpainting").facts() == {
        "degraded": {"kind": "picture", "width": 4},
        "task": {"kind": "classes", "classes": ("jpeg", "inpainting")},
    }
    assert only(data).facts() == {} and only(data).examples([0])[1] == {}


def test_arrays_of_any_channels_are_hidden_and_shrunk_and_of_gray_there_is_no_colour() -> None:
    array = ImageData.from_array(np.random.default_rng(0).integers(0, 256, (4, 5, 6, 7), dtype=np.uint8))
    found = told(only(array, "inpainting", "uncropping", "super-resolution"), [0, 1, 2, 3])
    assert found.shape == (4, 6, 6, 7)
    for name, needed in (("jpeg", "1 or 3"), ("colorization", "3")):
        with pytest.raises(InputError, match=f"'{name}' needs images of {needed} channels, and these have 5"):
            only(array, name)
    with pytest.raises(InputError, match="'colorization' needs images of 3 channels, and these have 1"):
        load(DataConfig(source="digits", degradations=("jpeg", "colorization")))
    columns = ImageData.from_array(array.pixels, columns={"task": [1.0, 2.0, 3.0, 4.0]})
    with pytest.raises(InputError, match="have a column 'task' of their own"):
        only(columns, "inpainting")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"degradations": ["blur"]}, "colorization"),
        ({"degradations": ["jpeg", "jpeg"]}, "names one of them twice"),
        ({"degradations": ["colorization"], "channels": 1}, "colorization needs images of 3 channels"),
    ],
)
def test_what_cannot_be_asked_for_is_said(values: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        checked(DataConfig, {"source": "digits", **values})
    assert "\n" not in str(raised.value)
