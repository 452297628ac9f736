from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from unstir.data.dataset import Splits
from unstir.diffusion import Schedule
from unstir.diffusion.objective import SquaredError
from unstir.diffusion.schedule import cosine, flow, ve
from unstir.evaluation.figures import levels as module
from unstir.evaluation.figures.levels import LevelLosses, draw_levels, level_losses, shown_levels
from unstir.models.denoiser import DenoiserModel
from unstir.sampling import SeededNoise

MakeRun = Callable[..., DenoiserModel]
PARTIAL = 500


@pytest.fixture
def few(digits: Splits) -> torch.Tensor:
    """The training images that the ideal denoiser is given."""
    return digits.train.examples(np.random.default_rng(3).permutation(len(digits.train))[:PARTIAL])[0]


@pytest.fixture
def losses(run: MakeRun, digits: Splits, few: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> LevelLosses:
    """Losses of a run that is the ideal denoiser of those images."""
    monkeypatch.setattr(module, "IDEAL_PIXELS", PARTIAL * 64 + 63)  # of 1,437 images
    return level_losses(run(few), splits=digits, n=30, seed=3)


def test_the_ideal_curve_is_the_posterior_means_error(
    losses: LevelLosses, digits: Splits, few: torch.Tensor
) -> None:
    order = np.random.default_rng(3).permutation(len(digits.held_out))[:30]
    unseen, _ = digits.held_out.examples(order)
    for name, x0 in (("ideal", unseen), ("ideal, training", few[:30])):
        eps = SeededNoise(range(3, 33))(x0).double()
        for i in (3, 9, 12, 15):
            alpha, sigma = losses.levels.alpha[i], losses.levels.sigma[i]
            x = (alpha * x0 + sigma * eps).flatten(1)
            distance = ((x[:, None] - alpha * few.double().flatten(1)) ** 2).sum(-1)
            mean = torch.softmax(-distance / (2 * sigma**2), dim=1) @ few.double().flatten(1)
            expected = ((mean - x0.flatten(1)) ** 2).mean()
            torch.testing.assert_close(losses.errors[name][i], expected, rtol=1e-3, atol=1e-9)


def test_a_model_that_is_the_ideal_denoiser_has_its_curve(losses: LevelLosses) -> None:
    for where in ("", ", training"):
        torch.testing.assert_close(
            losses.errors[f"model{where}"][:15], losses.errors[f"ideal{where}"][:15], rtol=2e-2, atol=1e-4
        )


def test_the_mean_image_is_that_of_the_training_images(
    losses: LevelLosses, digits: Splits, few: torch.Tensor
) -> None:
    unseen, _ = digits.held_out.examples(np.random.default_rng(3).permutation(len(digits.held_out))[:30])
    expected = ((unseen - few.mean(0)) ** 2).mean().double().expand(20)
    torch.testing.assert_close(losses.errors["mean"], expected)


def test_errors_in_other_spaces_are_the_objectives(losses: LevelLosses, run: MakeRun, few: torch.Tensor) -> None:
    made, x0 = run(few), few[:30]
    eps = SeededNoise(range(3, 33))(x0)
    for space in ("x0", "eps", "v"):
        for i in (3, 9, 11):
            level = shown_levels(made.schedule)[i]
            with torch.no_grad():
                expected = SquaredError(space)(made.denoiser, x0, level, eps, None).mean().double()  # type: ignore[arg-type]
            torch.testing.assert_close(losses.space(space)["model, training"][i], expected, rtol=1e-3, atol=1e-7)


def test_the_picture_says_what_the_ideal_denoiser_knows(losses: LevelLosses) -> None:
    assert (losses.ideal_of, losses.training_images, losses.images) == (PARTIAL, 1437, 30)
    figure = draw_levels(losses)
    said = figure.get_suptitle()
    assert "30 images at each level" in said and "knows 500 of 1,437 training images" in said
    for axis, space in zip(figure.axes, ("x0", "eps", "v")):
        lines = {line.get_label(): line for line in axis.lines}
        ideal = lines["ideal denoiser, held-out images"]
        assert ideal.get_ydata() == pytest.approx(losses.space(space)["ideal"].numpy())
        assert ideal.get_xdata() == pytest.approx((losses.levels.sigma / losses.levels.alpha).numpy())


@pytest.mark.parametrize(("schedule", "most"), [(cosine(), 100), (flow(), 100), (ve(), 50)])
def test_levels_lie_evenly_in_log_snr_within_the_schedule(schedule: Schedule, most: float) -> None:
    levels = shown_levels(schedule)
    ratio = torch.stack([level.sigma / level.alpha for level in levels])
    assert (ratio[-1].item(), ratio[0].item()) == pytest.approx((0.01, most), rel=1e-3)
    steps = ratio.log()[1:] - ratio.log()[:-1]
    torch.testing.assert_close(steps, steps[:1].expand(19), rtol=1e-3, atol=0)
