"""Grids fall, end clean, ask the network exactly as often as promised, and equal the peers'."""

import math
import re
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from unstir.diffusion import DiscreteSchedule, NoiseLevel, Prediction, Schedule
from unstir.diffusion.schedule import cosine, flow, ladder, linear, schedules, ve, vp
from unstir.errors import InputError
from unstir.sampling import DDIM, from_sigmas, grid, sample, spacings

SIZES = [(1, 1), (2, 1), (2, 2), (10, 1), (10, 2), (10, 7), (10, 9), (10, 10), (49, 48), (49, 49)]
SIZES += [(1000, 1), (1000, 7), (1000, 50), (1000, 333), (300, 299), (300, 300)]


def indices(levels: list[NoiseLevel], steps: int) -> list[int]:
    """The levels' n, which must be whole; without the clean one."""
    n = [float(level.t) * steps for level in levels[:-1]]
    assert all(abs(value - round(value)) < 1e-9 for value in n)
    return [round(value) for value in n]


def assert_falls(levels: list[NoiseLevel], steps: int) -> None:
    assert len(levels) == steps + 1
    for here, there in pairwise(levels):
        assert there.t < here.t and there.sigma < here.sigma and there.log_snr > here.log_snr
        assert here.t.shape == here.alpha.shape == here.sigma.shape == ()
    assert (levels[-1].t, levels[-1].alpha, levels[-1].sigma) == (0, 1, 0)
    assert levels[0].t <= 1


class Counter:
    """A denoiser that counts its calls."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def __call__(self, x: Tensor, level: NoiseLevel) -> Prediction:
        self.asked.append(level.t.item())
        return Prediction.from_x0(x / 2, x, level)


@pytest.mark.parametrize("spacing", sorted(spacings))
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["linear", "cosine", "ladder"])
def test_a_discrete_grid_asks_exactly_as_often_as_promised(name: str, size: tuple[int, int], spacing: str) -> None:
    schedule = schedules[name](max(size[0], 2) if name == "ladder" else size[0])
    levels = grid(schedule, size[1], spacing)
    assert_falls(levels, size[1])
    counter = Counter()
    sample(counter, torch.ones(1, 1), levels, DDIM(), torch.randn_like)
    assert counter.asked == [level.t.item() for level in levels[:-1]]
    assert len(set(counter.asked)) == size[1]
    assert levels[-2].t >= schedule.t_min * (1 - 1e-9)


@pytest.mark.parametrize("spacing", sorted(spacings))
@pytest.mark.parametrize("steps", [1, 2, 7, 100, 1000])
@pytest.mark.parametrize("name", ["vp", "ve", "flow"])
def test_a_continuous_grid_has_as_many_levels_as_promised(name: str, steps: int, spacing: str) -> None:
    schedule = schedules[name]()
    levels = grid(schedule, steps, spacing)
    assert_falls(levels, steps)
    assert levels[-2].t >= schedule.t_min * (1 - 1e-9)


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace", "quadratic"])
def test_every_size_of_a_discrete_grid_falls(spacing: str) -> None:
    for steps in (1, 2, 3, 12, 40):
        schedule = linear(steps)
        for asked in range(1, steps + 1):
            n = indices(grid(schedule, asked, spacing), steps)
            assert len(n) == asked and all(a > b for a, b in pairwise(n)) and n[-1] >= 1 and n[0] <= steps


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace", "quadratic", "uniform"])
def test_all_steps_are_all_levels(spacing: str) -> None:
    assert indices(grid(linear(49), 49, spacing), 49) == list(range(49, 0, -1))


def test_a_grids_levels_are_the_schedules() -> None:
    schedule = cosine(1000)
    for level, n in zip(grid(schedule, 4), (1000, 750, 500, 250, 0)):
        torch.testing.assert_close(level.alpha, schedule.level(n).alpha, rtol=1e-12, atol=0)
        torch.testing.assert_close(level.sigma, schedule.level(n).sigma, rtol=1e-10, atol=0)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("steps", [10, 49, 300, 1000])
def test_equals_diffusers(spacing: str, steps: int) -> None:
    peer = DDIMScheduler(steps, timestep_spacing=spacing)
    compared = 0
    for asked in range(1, min(steps, 120) + 1):
        peer.set_timesteps(asked)
        theirs = (peer.timesteps + 1).tolist()
        # Left out: one step of linspace, where the peer asks at its lowest level; and what its sums of floats do
        # to exact halves and to the end of trailing. There the exact test below says what is right.
        if (spacing, asked) == ("linspace", 1) or len(theirs) != asked or meets_a_half(spacing, steps, asked):
            continue
        assert indices(grid(linear(steps), asked, spacing), steps) == theirs
        compared += 1
    assert compared >= 5


def positions(spacing: str, steps: int, asked: int) -> list[Fraction]:
    """The peer's points before rounding, in exact arithmetic, from the top; its index is n - 1."""
    if spacing == "leading":
        return [Fraction(i * (steps // asked)) for i in reversed(range(asked))]
    if spacing == "trailing":
        return [steps - Fraction(i * steps, asked) - 1 for i in range(asked)]
    return [Fraction(i * (steps - 1), max(asked - 1, 1)) for i in reversed(range(asked))]


def meets_a_half(spacing: str, steps: int, asked: int) -> bool:
    return any(point.denominator == 2 for point in positions(spacing, steps, asked))


@pytest.mark.parametrize("spacing", ["linspace", "trailing", "leading"])
@pytest.mark.parametrize("steps", [10, 49, 120])
def test_rounding_is_that_of_exact_arithmetic(spacing: str, steps: int) -> None:
    for asked in range(2, steps + 1):
        points = positions(spacing, steps, asked)
        # Halves go to the even number, among those that the peer rounds: n for trailing, n - 1 for linspace.
        exact = [round(p + 1) if spacing == "trailing" else round(p) + 1 for p in points]
        assert indices(grid(linear(steps), asked, spacing), steps) == exact


def test_linspace_with_one_step_starts_at_the_top() -> None:
    assert indices(grid(linear(1000), 1, "linspace"), 1000) == [1000]


def test_quadratic_is_the_ddim_papers() -> None:
    for asked in (10, 20):  # few enough that no index repeats
        exact = [1 + Fraction(4, 5) * 1000 * Fraction(i, asked - 1) ** 2 // 1 for i in range(asked)]
        assert indices(grid(linear(), asked, "quadratic"), 1000) == exact[::-1]


def test_quadratic_raises_repeats_by_no_more_than_it_must() -> None:
    asked = 100
    wanted = [1 + 800 * (i / 99) ** 2 for i in range(asked)]
    n = indices(grid(linear(), asked, "quadratic"), 1000)[::-1]
    assert n[:10] == list(range(1, 11)) and n[-1] == 801
    assert all(value == math.floor(wish + 1e-9) for value, wish in zip(n[40:], wanted[40:]))


def test_uniform_is_even_in_time() -> None:
    for schedule in (linear(30), vp(), flow()):
        times = [level.t.item() for level in grid(schedule, 7, "uniform")]
        assert times == pytest.approx([1 - i / 7 for i in range(8)], abs=1e-12)


ALL_NOISE = DiscreteSchedule(torch.tensor([0.1, 0.2, 0.3, 1.0]))


@pytest.mark.parametrize(
    "schedule",
    [linear(), linear(4000), cosine(), vp(), flow(), ve(0.01, 5e4), ladder(30, 0.01, 1e4)],
    ids=["linear", "linear4000", "cosine", "vp", "flow", "ve", "ladder"],
)
def test_log_snr_is_even_in_log_snr(schedule: Schedule) -> None:
    log_snr = torch.stack([level.log_snr for level in grid(schedule, 9, "log_snr")[:-1]])
    steps = log_snr.diff()
    torch.testing.assert_close(steps, steps.mean().expand(8), rtol=1e-6, atol=0)
    assert log_snr[-1].item() == pytest.approx(schedule(schedule.t_min).log_snr.item(), rel=1e-9)
    # The top: the schedule's own, or where that is pure noise a noise a thousand times the image.
    own = schedule(1.0).log_snr.item()
    assert log_snr[0].item() == pytest.approx(own if math.isfinite(own) else -2 * math.log(1000), rel=1e-9)


@pytest.mark.parametrize(
    "schedule",
    [linear(), cosine(), vp(), ve(), ve(0.01, 5e4), flow()],
    ids=["linear", "cosine", "vp", "ve", "wide ve", "flow"],
)
def test_karras_is_the_papers_equation_5(schedule: Schedule) -> None:
    levels = grid(schedule, 9, "karras")[:-1]
    ratio = torch.stack([level.sigma / level.alpha for level in levels])
    lowest = schedule(schedule.t_min)
    top, bottom = ratio[0] ** (1 / 7), (lowest.sigma / lowest.alpha) ** (1 / 7)
    expected = torch.stack([(top + i / 8 * (bottom - top)) ** 7 for i in range(9)])
    torch.testing.assert_close(ratio, expected, rtol=1e-6, atol=0)
    highest = schedule(1.0)
    own = 1000.0 if highest.alpha == 0 else (highest.sigma / highest.alpha).item()
    assert ratio[0].item() == pytest.approx(own, rel=1e-6)


def test_cosine_begins_at_its_own_top_and_pure_noise_at_a_thousand() -> None:
    for spacing in ("karras", "log_snr"):
        assert float(grid(cosine(), 10, spacing)[0].log_snr) == pytest.approx(-2 * math.log(20291), rel=1e-5)
        top = grid(ALL_NOISE, 3, spacing)[0]
        assert float(top.log_snr) == pytest.approx(-2 * math.log(1000), rel=1e-9)


def test_continuous_ends_are_where_the_docstring_says() -> None:
    schedule = vp()
    leading = [level.t.item() for level in grid(schedule, 4, "leading")]
    assert leading[0] == pytest.approx(1e-3 + 0.75 * (1 - 1e-3)) and leading[3] == pytest.approx(1e-3)
    linspace = [level.t.item() for level in grid(schedule, 4, "linspace")]
    assert linspace[0] == 1 and linspace[3] == pytest.approx(1e-3)
    uniform = [level.t.item() for level in grid(schedule, 4, "uniform")]
    assert [level.t.item() for level in grid(schedule, 4, "trailing")] == uniform


def test_explicit_indices_are_visited_as_given() -> None:
    assert indices(grid(linear(49), 4, [49, 30, 2, 1]), 49) == [49, 30, 2, 1]
    assert indices(grid(linear(49), 1, (7,)), 49) == [7]


def test_more_steps_than_the_schedule_has_are_refused() -> None:
    with pytest.raises(InputError, match=r"11 steps.*has 10"):
        grid(linear(10), 11)
    assert len(grid(vp(), 2000)) == 2001


@pytest.mark.parametrize(
    "wrong,right", [("trailin", "trailing"), ("quadratik", "quadratic"), ("Karras", "karras")]
)
def test_an_unknown_spacing_is_refused_with_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(InputError, match=f"'{wrong}'; did you mean '{right}'"):
        grid(linear(10), 5, wrong)


@pytest.mark.parametrize(
    "wrong", [[3, 2], [4, 3, 2, 1], [3, 3, 1], [1, 2, 3], [11, 2, 1], [3, 2, 0], [3, 2, -1], []], ids=str
)
def test_impossible_indices_are_refused(wrong: list[int]) -> None:
    with pytest.raises(InputError, match=r"3 indices.*10\.\.1"):
        grid(linear(10), 3, wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        [9.5, 4, 1],
        [9, 4, 1.0001],
        [10.9, 4, 1],
        [math.inf, 4, 1],
        [9, 4, -math.inf],
        [9, math.nan, 1],
        [1e300, 4, 1],
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["linear", "cosine", "ladder"])
def test_fractions_and_what_is_no_number_are_no_indices(name: str, wrong: list[float]) -> None:
    first = next(n for n, value in enumerate(wrong, start=1) if value not in range(1, 11))
    told = f"3 indices of a grid are whole and fall within 10..1, and number {first} is {wrong[first - 1]}"
    with pytest.raises(InputError, match=re.escape(told)):
        grid(schedules[name](10), 3, wrong)


def test_the_first_wrong_number_alone_is_told_and_as_it_is() -> None:
    n = [*range(100_000, 0, -1)]
    for place, value in ((0, 100_000.9), (4, 99_997), (99_999, 0.5)):
        with pytest.raises(InputError) as told:
            grid(linear(100_000), 100_000, [*n[:place], value, *n[place + 1 :]])
        assert str(told.value).endswith(f", and number {place + 1} is {float(value)}")
        with pytest.raises(InputError) as told:
            from_sigmas([*n[:place], 200_000.5, *n[place + 1 :], -1])
        assert str(told.value).endswith(
            f", and number {place + 1 if place else 100_001} is {200_000.5 if place else -1.0}"
        )
    with pytest.raises(InputError, match=r"and here are 2$"):
        grid(linear(10), 3, [2, 1])


@pytest.mark.parametrize("wrong", [2.5, 1000.0, math.inf, math.nan, 0, -1, -1000, "3"], ids=str)
def test_steps_are_a_whole_number(wrong: Any) -> None:
    for schedule in (linear(10), vp()):
        for spacing in spacings:
            with pytest.raises(InputError, match=f"steps are a whole number, at least 1, and not {wrong}"):
                grid(schedule, wrong, spacing)
    assert len(grid(vp(), np.int64(3))) == 4


def test_indices_may_be_an_array_or_a_tensor() -> None:
    for kind in (tuple, np.array, torch.tensor):
        for number in (int, float):
            assert indices(grid(linear(49), 3, kind([number(n) for n in (49, 30, 2)])), 49) == [49, 30, 2]


def test_arrays_may_be_views_of_any_order() -> None:
    for dtype in (np.int32, np.uint16, ">i8", ">f4", np.float64):
        rising = np.arange(10, 101, 10).astype(dtype)
        assert indices(grid(linear(100), 10, rising[::-1]), 100) == [*range(100, 0, -10)]
        assert [float(level.sigma) for level in from_sigmas(rising[::-2])] == [100, 80, 60, 40, 20, 0]
    sigmas = np.geomspace(0.02, 80, 10)[::-1]
    assert [float(level.sigma) for level in from_sigmas(sigmas)] == [*sigmas, 0]


def test_levels_of_sigmas() -> None:
    """They are those of the exploding process, however the sigmas are given."""
    for kind in (list, np.array, torch.tensor):
        for last in ([], [0.0]):
            levels = from_sigmas(kind([80.0, 3.0, 0.5, *last]))
            assert [float(level.sigma) for level in levels] == [80, 3, 0.5, 0]
            assert [float(level.alpha) for level in levels] == [1] * 4
            assert_falls(levels, 3)
    assert [float(level.t) for level in levels] == pytest.approx([1, 2 / 3, 1 / 3, 0])


@pytest.mark.parametrize(
    "wrong",
    [[], [0.0], [1.0, 2.0], [2.0, 2.0], [1.0, -1.0], [1.0, 0.0, 0.0], [math.inf, 1.0], [math.nan]],
    ids=str,
)
def test_sigmas_that_do_not_fall_are_refused(wrong: list[float]) -> None:
    with pytest.raises(
        InputError, match=r"sigmas of a walk are above 0 and fall, and (there are none|number [12] is)"
    ):
        from_sigmas(wrong)


def test_indices_need_a_grid() -> None:
    with pytest.raises(InputError, match="discrete"):
        grid(vp(), 2, [3, 1])
    assert not isinstance(vp(), DiscreteSchedule)


def test_a_ladder_has_the_grids_of_a_discrete_schedule() -> None:
    for spacing in ("trailing", "leading", "linspace", "quadratic"):
        on_ladder, on_linear = (indices(grid(make(50), 12, spacing), 50) for make in (ladder, linear))
        assert on_ladder == on_linear
    whole = grid(ladder(10, 0.01, 1.0), 10)
    expected = [10 ** (-2 * i / 9) for i in range(10)] + [0.0]
    assert [float(level.sigma) for level in whole] == pytest.approx(expected)
    assert indices(grid(ladder(10), 3, [9, 4, 1]), 10) == [9, 4, 1]
    with pytest.raises(InputError, match="the model's schedule has 10"):
        grid(ladder(10), 11)
