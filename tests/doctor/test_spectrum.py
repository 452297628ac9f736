"""Octaves of detail: a wave lies in its own, white noise in all alike."""

from __future__ import annotations

import math

import pytest
import torch

from unstir.doctor.spectrum import octaves, spectrum


@pytest.mark.parametrize(("waves", "octave"), [(1, 0), (2, 1), (3, 1), (4, 2), (7, 2), (8, 3), (9, 3), (16, 3)])
def test_a_wave_has_its_power_in_one_octave(waves: int, octave: int) -> None:
    along = torch.cos(2 * math.pi * waves * torch.arange(32) / 32).expand(32, 32)
    for image in (along, along.T):
        power = spectrum(image.expand(1, 3, 32, 32))
        assert int(power.argmax()) == octave and float(power[octave] / power.sum()) > 1 - 1e-9


def test_white_noise_has_the_same_power_in_all_whatever_the_shape() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((400, 1, 32, 32), (400, 3, 20, 48)):
        power = spectrum(0.5 * torch.randn(*shape, generator=generator))
        assert power.tolist() == pytest.approx([0.25] * len(power), rel=0.1)


def test_every_frequency_but_the_mean_has_an_octave() -> None:
    found = octaves(24, 32)
    assert int((found < 0).sum()) == 1 and int(found[0, 0]) == -1
    assert found.unique().tolist() == list(range(-1, int(found.max()) + 1))
