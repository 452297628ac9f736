"""Tiles cover an image, overlap as asked, and blend without a seam."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from unstir.diffusion import NoiseLevel, Prediction
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.schedule import linear
from unstir.sampling import DDIM, SeededNoise, grid, sample
from unstir.sampling.tiles import Tile, in_tiles, tiled, tiles, window


def blended(x: Tensor, side: int, overlap: int, shift: bool = False) -> Tensor:
    """Take an image apart and together again; with ``shift`` each tile is made brighter than the last."""
    total, weights = torch.zeros_like(x), torch.zeros_like(x)
    for i, (rows, columns) in enumerate(tiles(*x.shape[-2:], side, overlap)):
        weight = window((rows, columns), overlap)
        total[..., rows, columns] += weight * (x[..., rows, columns] + i * shift)
        weights[..., rows, columns] += weight
    assert (weights > 0).all()
    return total / weights


@pytest.mark.parametrize(
    ("height", "width", "side", "overlap"), [(5, 7, 16, 4), (16, 17, 16, 4), (40, 29, 16, 4), (100, 16, 16, 15)]
)
def test_an_image_taken_apart_is_itself_together_again(height: int, width: int, side: int, overlap: int) -> None:
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    torch.testing.assert_close(blended(x, side, overlap), x)
    for rows, columns in tiles(height, width, side, overlap):
        assert rows.stop - rows.start == min(side, height) and columns.stop - columns.start == min(side, width)
    columns = sorted({columns.start for _, columns in tiles(height, width, side, overlap)})
    assert columns[0] == 0 and columns[-1] + min(side, width) == width
    assert all(b - a <= side - overlap for a, b in pairwise(columns))


def test_neighbours_that_differ_meet_gradually() -> None:
    x = torch.zeros(1, 1, 8, 60, dtype=torch.float64)
    line = blended(x, 24, 12, shift=True)[0, 0, 0]
    assert line[0] == 0 and line[-1] == len(tiles(8, 60, 24, 12)) - 1
    steps = line[1:] - line[:-1]
    assert steps.min() >= 0 and steps.max() <= 2 / 12  # a seam would be a step of 1


def test_what_a_small_filter_sees_is_what_it_would_see_of_the_whole() -> None:
    # Away from an edge by more than the filter's reach, tiles give what the whole would; edges weigh the least.
    x, kernel = torch.randn(1, 1, 50, 50, dtype=torch.float64), torch.ones(1, 1, 3, 3, dtype=torch.float64) / 9
    whole, total, weights = functional.conv2d(x, kernel, padding=1), torch.zeros_like(x), torch.zeros_like(x)
    for tile in tiles(50, 50, 20, 10):
        weight = window(tile, 10)
        total[..., tile[0], tile[1]] += weight * functional.conv2d(x[..., tile[0], tile[1]], kernel, padding=1)
        weights[..., tile[0], tile[1]] += weight
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    error, edges = (total / weights - whole)[inner].abs(), (whole - x)[inner].abs()
    assert error.mean() < 0.05 * edges.mean()


def test_tiles_of_a_denoiser_that_knows_no_places_are_the_whole() -> None:
    mixture = GaussianMixtureDenoiser(torch.zeros(1, 1).double(), torch.tensor([0.5]), torch.ones(1))

    def pointwise(x: Tensor, level: NoiseLevel) -> Prediction:
        found = mixture(x.reshape(-1, 1), level)
        each = found.x0.reshape(x.shape), found.eps.reshape(x.shape)
        return Prediction(*each, level, variance=each[0] ** 2)

    x, level = torch.randn(2, 3, 11, 20, dtype=torch.float64), linear()(0.4)
    x.requires_grad_()
    whole, found = pointwise(x, level), tiled(pointwise, (6, 8), 3)(x, level)
    for one, other in ((whole.x0, found.x0), (whole.eps, found.eps), (whole.variance, found.variance)):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(*(torch.autograd.grad(p.x0.sum(), x)[0] for p in (whole, found)))


def test_tiles_drawn_together_agree_where_they_overlap() -> None:
    """Each tile is an image of one brightness; drawn apart, neighbours differ, together they blend."""
    flats = torch.tensor([-0.8, 0.8]).double()[:, None, None, None].expand(2, 1, 6, 6)
    mixture = GaussianMixtureDenoiser(flats, torch.tensor([0.05, 0.05]), torch.ones(2))
    sides: list[tuple[int, ...]] = []

    def denoise(x: Tensor, level: NoiseLevel) -> Prediction:
        sides.append(tuple(x.shape[-2:]))
        return mixture(x, level)

    noise = SeededNoise(range(200))
    start = noise(torch.zeros(200, 1, 6, 9).double())
    levels, parts = grid(linear(), 20), (slice(6), slice(3, 9))

    def differ(left: Tensor, right: Tensor) -> float:
        return float(((left.mean((1, 2, 3)) - right.mean((1, 2, 3))).abs() > 0.3).double().mean())

    together = sample(tiled(denoise, (6, 6), 3), start, levels, DDIM(), noise)
    assert set(sides) == {(6, 6)} and len(sides) == 2 * 20
    apart = [sample(mixture, start[..., part], levels, DDIM(), noise) for part in parts]
    assert differ(together[..., :3], together[..., 6:]) < 0.6 * differ(apart[0][..., :3], apart[1][..., 3:])


def test_tiles_join_the_drift_too() -> None:
    def denoise(x: Tensor, level: NoiseLevel) -> Prediction:
        return replace(Prediction.from_x0(0.5 * x, x, level), drift=3 * x)

    x = torch.randn(1, 1, 9, 14, dtype=torch.float64)
    found = tiled(denoise, (6, 6), 3)(x, linear()(0.5))
    torch.testing.assert_close(found.drift, 3 * x)
    torch.testing.assert_close(found.absorbed().x0, denoise(x, linear()(0.5)).absorbed().x0)


def test_what_is_made_tile_by_tile_is_the_whole_where_tiles_agree() -> None:
    x = torch.randn(2, 3, 20, 33)
    asked: list[tuple[int, ...]] = []

    def doubled(tile: Tile) -> torch.Tensor:
        part = x[(..., *tile)]
        asked.append(tuple(part.shape[2:]))
        return part.repeat_interleave(2, 2).repeat_interleave(2, 3)

    whole = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(in_tiles(doubled, (20, 33), 8, 3, 2), whole)
    assert set(asked) == {(8, 8)} and len(asked) > 15
    asked.clear()
    assert torch.equal(in_tiles(doubled, (20, 33), 33, 3, 2), whole)
    assert asked == [(20, 33)]


def test_where_two_tiles_disagree_one_fades_into_the_other() -> None:
    values = iter([0.0, 1.0])
    made = in_tiles(lambda tile: torch.full((1, 1, 4, 8), next(values)), (4, 12), 8, 4)[0, 0, 0]
    torch.testing.assert_close(made, torch.tensor([0.0] * 4 + [0.2, 0.4, 0.6, 0.8] + [1.0] * 4))
