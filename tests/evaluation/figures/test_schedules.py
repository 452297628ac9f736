from __future__ import annotations

import math

import pytest
import torch

from unstir.diffusion.schedule import DiscreteSchedule, schedules
from unstir.evaluation.figures.schedules import draw_schedules, schedule_curves


@pytest.mark.parametrize("name", ["linear", "quadratic", "cosine", "sigmoid"])
def test_discrete_curves_are_alpha_bar_at_every_step(name: str) -> None:
    schedule = schedules[name]()
    assert isinstance(schedule, DiscreteSchedule)
    torch.testing.assert_close(schedule_curves()[name].alpha_bar, schedule.alphas_cumprod, rtol=1e-10, atol=0)


def test_continuous_curves_are_their_formulas() -> None:
    curves, t = schedule_curves(), torch.arange(1, 1001).double() / 1000
    torch.testing.assert_close(curves["vp"].alpha_bar, (-9.95 * t**2 - 0.1 * t).exp())
    torch.testing.assert_close(curves["flow"].alpha_bar, (1 - t) ** 2 / ((1 - t) ** 2 + t**2))
    torch.testing.assert_close(curves["ve"].log_snr, -2 * (math.log(0.01) + t * math.log(5000)))
    for curve in curves.values():
        torch.testing.assert_close(curve.alpha_bar, torch.sigmoid(curve.log_snr), rtol=1e-9, atol=1e-12)


def test_both_sides_show_every_curve_by_its_name() -> None:
    figure, curves = draw_schedules(), schedule_curves()
    for axis, values in zip(figure.axes, ("alpha_bar", "log_snr")):
        lines = {line.get_label(): line for line in axis.lines if line.get_label() in curves}
        assert list(lines) == list(curves)
        for name, line in lines.items():
            assert line.get_ydata() == pytest.approx(getattr(curves[name], values).numpy(), nan_ok=True)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(curves)
