"""The figures of restored images, against what they are by their definitions."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from unstir.config import checked
from unstir.data.config import DataConfig
from unstir.data.load import load
from unstir.evaluation import restoration
from unstir.evaluation.restoration import compare, measure_restoration
from unstir.models.config import systems
from unstir.models.denoiser import DenoiserModel
from unstir.networks.perceptual import between

TASKS = ("inpainting", "uncropping", "jpeg", "super-resolution")


def model_of(splits: Any) -> DenoiserModel:
    told = {"degraded": {"kind": "picture"}, "task": {"kind": "classes"}}
    values = {
        "network": {"kind": "plain", "channels": [8, 16]},
        "told": told,
        "sampling": {"steps": 2},
        "precision": "float32",
    }
    config = checked(systems["denoiser"], {"kind": "denoiser", **values})
    torch.manual_seed(0)
    return config.seeing(splits.train.shape, splits.train.facts()).build({}).eval()  # type: ignore[return-value]


def classifier(shape: tuple[int, ...] = (3, 16, 16)) -> Any:
    config = checked(systems["classifier"], {"kind": "classifier"})
    torch.manual_seed(0)
    return config.seeing(shape, {"label": {"kind": "classes", "classes": ("a", "b")}}).build({}).eval()


def test_psnr_by_its_definition_and_ssim_of_what_is_alike() -> None:
    random = np.random.default_rng(0)
    y = torch.tensor(random.integers(20, 236, (3, 3, 16, 16))) / 127.5 - 1
    moved = y + torch.tensor([0, 8, -16]).view(3, 1, 1, 1) / 127.5
    found = compare(moved, y)
    assert found["psnr"].tolist() == pytest.approx(
        [20 * math.log10(255 / error) for error in (0.25, 8, 16)], rel=1e-5
    )
    assert found["ssim"][0] == 1 and (found["ssim"][1:] < 1).all()
    # Two noises have nothing in common, and of flat images SSIM is known: (2ab + c) / (a^2 + b^2 + c).
    noise = torch.tensor(random.integers(0, 256, (1, 1, 64, 64))) / 127.5 - 1
    assert abs(float(compare(noise, noise.flip(-1).roll(7, -2))["ssim"])) < 0.1
    a, b, c = 100.0, 140.0, (0.01 * 255) ** 2
    flat = [torch.full((1, 1, 8, 8), value / 127.5 - 1) for value in (a, b)]
    assert float(compare(*flat)["ssim"]) == pytest.approx((2 * a * b + c) / (a * a + b * b + c), rel=1e-4)


def test_what_is_beyond_black_and_white_is_black_and_white() -> None:
    y = torch.linspace(-1, 1, 64).view(1, 1, 8, 8)
    beyond = torch.where(y < 0, y, 3 * y)
    assert compare(beyond, y)["psnr"] == compare(beyond.clamp(-1, 1), y)["psnr"] < 40


def test_the_distance_grows_with_the_difference_and_is_symmetric() -> None:
    judge, random = between(classifier().layers), torch.Generator().manual_seed(0)
    y, noise = (torch.randn(4, 3, 16, 16, generator=random) * 0.3 for _ in range(2))
    far = [judge(y + step * noise, y) for step in (0, 0.1, 0.5, 2)]
    assert not far[0].any()
    assert all((a < b).all() for a, b in itertools.pairwise(far))
    torch.testing.assert_close(judge(y, y + noise), judge(y + noise, y))
    assert compare(y, y + noise, judge).keys() == {"psnr", "ssim", "distance"}


def test_each_task_is_measured_beside_its_input_on_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = load(DataConfig(source="digits", degradations=TASKS))
    model, judge = model_of(splits), classifier(splits.train.shape)
    monkeypatch.setattr(restoration, "ruler", lambda splits: judge)
    found = measure_restoration(model, splits, n=10, batch=4)
    assert tuple(found) == TASKS
    for task, figures in found.items():
        hides = task in ("inpainting", "uncropping")
        assert [*figures] == ["input", *(["mean_colour"] if hides else []), "model"]
        assert all({"psnr", "ssim", "distance"} == {*one} for one in figures.values())
        if hides:  # where a model that learned nothing at least keeps what is known
            held_out, rows = splits.degraded((task,)).held_out, np.arange(10)
            truth, pictures = restoration._restored(model, held_out, task, rows, 0, {})
            known = torch.as_tensor(held_out.examples(rows)[1]["degraded"])[:, -1:].expand_as(truth) < 0.5
            for name in figures:
                torch.testing.assert_close(pictures[name][known], truth[known])
    truth, given = splits.degraded(("jpeg",)).held_out.examples(np.arange(10))
    by_hand = compare(torch.as_tensor(given["degraded"])[:, :-1], truth)["psnr"].mean()
    assert found["jpeg"]["input"]["psnr"] == pytest.approx(float(by_hand), rel=1e-6)
    drawn = model.edit("jpeg", torch.as_tensor(given["degraded"])[:, :-1], batch=3)
    by_hand = compare(drawn.tensor, truth)["psnr"].mean()  # whatever the batch
    assert found["jpeg"]["model"]["psnr"] == pytest.approx(float(by_hand), rel=1e-4)
