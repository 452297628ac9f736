from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unstir.models.denoiser import DenoiserModel
from unstir.models.model import Model
from unstir.models.systems import DenoiserConfig
from unstir.networks.told import Told

NETWORKS: dict[str, dict[str, Any]] = {
    "unet": {"kind": "unet", "channels": [32, 64], "attention": ["linear", "full"], "blocks": 1, "norm": "layer"},
    "unet-group-patch": {
        "kind": "unet",
        "channels": [32, 64],
        "attention": ["none", "full"],
        "patch": 2,
        "blocks": 1,
    },
    "plain": {"kind": "plain", "channels": [16, 32]},
    "fully_connected": {"kind": "fully_connected", "widths": [128, 64]},
}


def speaks(network: nn.Module, inputs: object, output: Tensor) -> None:
    """See that a network's answers vary: no test compares zeros."""
    assert (output.detach().float().flatten(1).std(1) > 0.01).all()


def awake(model: Model) -> Model:
    """Return the model ready for its verbs, its zero parameters made random, so that all take part."""
    model = model.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
    for parameter in model.parameters():
        if not parameter.any():
            parameter.normal_(std=0.1)
    return model


@pytest.fixture(scope="session")
def make_model() -> Callable[..., DenoiserModel]:
    """Return a maker of untrained models, whose weights are the same each time."""

    def make(
        network: str = "fully_connected",
        precision: str = "float32",
        shape: tuple[int, int, int] = (1, 9, 12),
        classes: int = 3,
        told: dict[str, Told] | None = None,
        **values: Any,
    ) -> DenoiserModel:
        own: dict[str, Any] = {
            "precision": precision,
            "network": NETWORKS[network],
            "told": {"label": Told(kind="classes", dropout=0.1)} | (told or {}),
            "diffusion": {"parameterization": "v"},
            "sampling": {
                "steps": 10,
                "guidance": 0.5 if classes else 0.0,
                "sampler": {"name": "ddim", "eta": 0.5},
            },
        }
        facts: dict[str, dict[str, Any]] = {
            one.column or name: {"kind": one.kind} | ({"width": one.width} if one.kind != "text" else {})
            for name, one in (told or {}).items()
        }
        if classes:
            facts["label"] = {"kind": "classes", "classes": tuple("abcdefg"[:classes])}
        config = DenoiserConfig.model_validate({**own, **values}).seeing(shape, facts)
        torch.manual_seed(0)
        model = awake(config.build({}))
        model.denoiser.network.register_forward_hook(speaks)  # type: ignore[operator, union-attr]
        return model  # type: ignore[return-value]

    return make
