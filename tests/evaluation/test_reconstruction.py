from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from unstir.config import checked
from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData, Splits
from unstir.data.load import load
from unstir.evaluation.backbones.efficientnet import efficientnet
from unstir.evaluation.frechet import frechet_distance
from unstir.evaluation.reconstruction import measure_reconstruction
from unstir.evaluation.restoration import compare
from unstir.models.autoencoder_config import CodecConfig
from unstir.networks.perceptual_config import PerceptualConfig


def codec(kind: str = "kl") -> Any:
    values = {
        "network": {"channels": [16, 16]},
        "adversary": {"weight": 0},
        "regularization": {"kind": kind, **({"codes": 8} if kind == "vq" else {})},
        "precision": "float32",
    }
    torch.manual_seed(0)
    return checked(CodecConfig, values).seeing((1, 8, 8), {}).build({}).eval()


def few(count: int = 20) -> Splits:
    """Return some of the digits: the network that reads them takes its time."""
    held_out = load(DataConfig(source="digits")).held_out
    data = ImageData.from_array(held_out.pixels[:count], name="few")
    return Splits(data, data)


def test_figures_are_of_what_comes_back() -> None:
    splits, model = few(), codec("vq")
    found = measure_reconstruction(model, splits, n=12, batch=7)
    assert [*found] == ["psnr", "ssim", "distance", "fd", "codes_in_use"]
    truth, _ = splits.held_out.examples(np.arange(12))
    codes = model.encode(truth)
    figures = compare(model.decode(codes), truth, PerceptualConfig().load(torch.device("cpu")))
    for name, values in figures.items():
        assert found[name] == pytest.approx(float(values.mean()), rel=1e-4)
    reader = efficientnet()
    features = [reader.read(images).features.numpy() for images in (model.decode(codes), truth)]
    moments = [part for one in features for part in (one.mean(0), np.cov(one.T))]
    assert found["fd"] == pytest.approx(frechet_distance(*moments), rel=1e-4)
    assert found["codes_in_use"] == len(model.tokens(codes).unique()) / 8


def test_what_loses_nothing_is_perfect() -> None:
    splits, model = few(), codec()
    model.encode = lambda images: images
    model.decode = lambda codes, seeds: codes
    found = measure_reconstruction(model, splits)
    assert found["psnr"] == pytest.approx(60.2, abs=0.1) and found["ssim"] == 1 and found["distance"] == 0
    assert found["fd"] == pytest.approx(0.0, abs=1e-3)
    assert "codes_in_use" not in found
