"""Predicted noise drowns the image where its error times sigma / alpha exceeds what the mean image is off by."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from unstir.diffusion import NoiseLevel
from unstir.doctor.levels import _noise_predicted

RATIOS = (0.1, 1.0, 4.0, 10.0, 60.0)


def found(parameterization: str, *errors: float) -> list[dict[str, float]]:
    """What is found of errors in the image at these levels, in units of its variance."""
    levels = [NoiseLevel(1.0, (1 + r * r) ** -0.5, r * (1 + r * r) ** -0.5) for r in RATIOS]
    patient = SimpleNamespace(
        diffusion=SimpleNamespace(parameterization=parameterization),
        gaussian=SimpleNamespace(variance=0.25),
        loss=0.25 * torch.tensor(errors),
        levels=levels,
    )
    return [dict(finding.figures) for finding in _noise_predicted(patient)]  # type: ignore[arg-type]


def test_it_is_told_of_networks_that_predict_the_noise_and_where_samples_hang_on_it() -> None:
    (figures,) = found("eps", 0.1, 0.9, 3.0, 1.5, 500.0)
    assert figures == pytest.approx({"error over variance": 3.0, "at": 4.0})
    assert not found("v", 0.1, 0.9, 3.0, 1.5, 500.0)
    assert not found("eps", 0.1, 0.9, 0.9, 0.99, 500.0)  # what any network has where nothing is left to see
