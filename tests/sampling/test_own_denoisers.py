"""The documentation's page on denoisers of one's own: its blocks run, and give what it says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """Return the names that the page's blocks, one after another, leave behind."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "own-denoisers.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, Any] = {}
    torch.manual_seed(0)
    exec("\n".join(blocks), names)
    return names


def test_images_have_the_moments_of_the_denoisers_data(page: dict[str, Any]) -> None:
    for name in ("images", "churned", "same"):
        pixels = page[name]
        assert pixels.shape == (64, 1, 8, 8)
        assert float(pixels.mean()) == pytest.approx(0.2, abs=0.02), name
        assert float(pixels.std()) == pytest.approx(0.3, rel=0.2 if name == "churned" else 0.1), name
    assert (page["churned"] - page["images"]).abs().mean() > 0.05


def test_a_network_of_c_noise_is_the_same_denoiser(page: dict[str, Any]) -> None:
    torch.testing.assert_close(page["same"], page["images"], rtol=1e-3, atol=1e-3)
    for level in page["levels"][:-1]:
        found, exact = (page[name](page["x"], level).x0 for name in ("wrapped", "denoise"))
        torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-4)


def test_densities_and_latents_are_those_of_the_data(page: dict[str, Any]) -> None:
    data = page["data"]
    exact = torch.distributions.Normal(0.2, 0.3).log_prob(data).flatten(1).sum(1)
    torch.testing.assert_close(page["log_density"], exact, rtol=0, atol=0.05)
    torch.testing.assert_close(page["latent"], (data - 0.2) / 0.3, rtol=0, atol=0.05)


@pytest.mark.slow
def test_the_example_finds_the_weights_of_its_mixture(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(DOCS.parent / "examples" / "any_denoiser.py"), run_name="__main__")
    told = re.findall(r": ([\d.]+) of the samples lie left of 0", capsys.readouterr().out)
    shares = [float(share) for share in told]
    assert len(shares) == 5
    assert shares[0] == pytest.approx(0.5, abs=0.06)
    assert shares[-1] == pytest.approx(0.8, abs=0.04)
