"""Scenes drawn: where and what, antialiased, and the same at every resolution."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unstir.data.shapes import Scene, Shape, render
from unstir.data.shapes.pictures import _BACKGROUNDS, _COLOURS, _DARKER, CENTRES, RADII
from unstir.data.shapes.scenes import COLOURS, KINDS, PLACES, TEXTURES


def cover(picture: np.ndarray, background: str, colour: str) -> np.ndarray:
    """How much of each pixel a plain shape covers, (H, W): the way from one colour to the other."""
    ground, whole = (np.array(each, float) for each in (_BACKGROUNDS[background], _COLOURS[colour]))
    return np.tensordot(whole - ground, picture - ground[:, None, None], 1) / ((whole - ground) ** 2).sum()


def one(kind: str, place: str = "middle", size: str = "large", texture: str = "plain", angle: int = 0) -> Scene:
    return Scene((Shape(kind, "red", size, texture, place, angle),), "gray")


def test_shapes_have_the_areas_of_geometry() -> None:
    for size in ("small", "large"):
        r = RADII[size]
        for kind, area in {
            "circle": math.pi * 0.81 * r**2,
            "square": 2 * r**2,
            "triangle": 3 * math.sqrt(3) / 4 * r**2,
            "cross": (8 * math.sqrt(1 - 0.09) * 0.3 - 4 * 0.09) * r**2,
            "star": 10 / 2 * 0.42 * math.sin(math.pi / 5) * r**2,
        }.items():
            covered = cover(render(one(kind, size=size, angle=13), 200), "gray", "red").mean()
            assert covered == pytest.approx(area, rel=0.02), kind


def test_shapes_lie_about_their_places() -> None:
    rows, columns = np.mgrid[:64, :64] + 0.5
    for place in PLACES:
        covered = cover(render(one("circle", place), 64), "gray", "red")
        x, y = (float((covered * axis).sum() / covered.sum()) / 64 for axis in (columns, rows))
        assert (x, y) == pytest.approx(CENTRES[place], abs=1e-3)
        assert covered[(rows / 64 - y) ** 2 + (columns / 64 - x) ** 2 > (RADII["large"] + 0.02) ** 2].max() < 1e-6
    assert CENTRES["bottom left"] == (0.25, 0.75)


def test_angles_turn_clockwise() -> None:
    upright, turned = (cover(render(one("triangle", angle=angle), 128), "gray", "red") for angle in (0, 20))
    np.testing.assert_allclose(upright, upright[:, ::-1], atol=0.3)
    assert np.abs(turned - turned[:, ::-1]).max() > 0.9
    top = [np.nonzero(covered.max(1) > 0.5)[0][0] for covered in (upright, turned)]
    columns = [float(np.nonzero(covered[row] > 0.5)[0].mean()) for covered, row in zip((upright, turned), top)]
    assert columns[0] == pytest.approx(63.5, abs=1.5)
    assert columns[1] == pytest.approx(63.5 + 128 * RADII["large"] * math.sin(math.radians(20)), abs=1.5)


def test_patterns_are_darker_parts_of_the_same_outline() -> None:
    red = np.array(_COLOURS["red"])[:, None]
    for kind in KINDS:
        plain, *patterned = (
            render(one(kind, texture=texture, angle=9), 96).reshape(3, -1) for texture in TEXTURES
        )
        inside = (plain == red).all(0)
        ground = (plain == np.array(_BACKGROUNDS["gray"])[:, None]).all(0)
        for picture in patterned:
            assert (picture[:, ground] == 128).all()
            dark = (picture == np.rint(_DARKER * red)).all(0)
            bright = (picture == red).all(0)
            assert (dark | bright)[inside].mean() > 0.6  # others lie on the edges of the pattern
            assert 0.2 < dark[inside].mean() < 0.75 and not dark[~inside].any()
        assert (patterned[0] != patterned[1]).any(0)[inside].mean() > 0.2


@pytest.mark.parametrize("coarse", [32, 50])
def test_every_resolution_shows_the_same_picture(coarse: int, trained: list[Scene]) -> None:
    for scene in trained[:40]:
        small, large = (render(scene, size).astype(float) for size in (coarse, 4 * coarse))
        averaged = large.reshape(3, coarse, 4, coarse, 4).mean((2, 4))
        apart, moved = np.abs(averaged - small), np.abs(averaged - np.roll(small, 1, 2))
        assert apart.max() < 32 and apart.mean() < 0.5
        assert moved.max() > 64 and moved.mean() > 4 * apart.mean()  # a pixel to the side it is another


def test_a_picture_is_the_same_each_time_and_has_no_other_colours(trained: list[Scene]) -> None:
    assert (render(trained[1], 64) == render(trained[1], 64)).all()
    for scene in trained[:40]:
        picture = render(scene, 64)
        assert picture.shape == (3, 64, 64) and picture.dtype == np.uint8 and picture.flags.c_contiguous
        ground = np.array(_BACKGROUNDS[scene.background])
        assert (picture == ground[:, None, None]).all(0).mean() > 0.4


def test_colours_lie_apart_from_each_other_and_from_all_backgrounds() -> None:
    assert _COLOURS.keys() == {*COLOURS}
    values = np.array([*_COLOURS.values(), *_BACKGROUNDS.values()], float)
    apart = np.linalg.norm(values[:, None] - values, axis=2) + 1e9 * np.eye(len(values))
    assert apart[: len(COLOURS)].min() > 80 and apart.min() > 50
