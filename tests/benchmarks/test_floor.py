from __future__ import annotations

import pytest
import torch
from benchmarks.contender import Mode, Unstir
from benchmarks.floor import count_flops, measure_floor, products
from benchmarks.workloads import QUICK, Workload
from torch import nn
from torch.nn import functional

from unstir.networks.config import PlainUNetConfig, UNetConfig


def _recorded(call: object) -> int:
    return sum(product.flops * count for product, count in products(call).items())


@pytest.mark.parametrize(
    "workload",
    [
        QUICK["tiny"],
        QUICK["mnist"],
        QUICK["tiny"].with_model(
            network=UNetConfig(channels=(16, 32), blocks=1, attention=("linear", "full"), patch=2, norm="layer")
        ),
        QUICK["tiny"].with_model(network=PlainUNetConfig(channels=(16, 32, 32))),
    ],
    ids=["ddpm", "mnist", "linear-attention", "plain"],
)
@pytest.mark.parametrize("precision", ["auto", pytest.param("float32", marks=pytest.mark.slow)])
def test_the_floor_holds_all_the_arithmetic_of_a_step(workload: Workload, precision: str) -> None:
    contender = Unstir(workload, Mode(precision))
    contender.step()
    assert _recorded(contender.step) == pytest.approx(count_flops(contender.step), rel=0.02)


def test_flops_by_hand() -> None:
    x = torch.randn(2, 3, 9, 7)
    strided = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    forward = 2 * 2 * (5 * 4) * 8 * (3 * 9)
    assert _recorded(lambda: strided(x)) == forward
    assert _recorded(lambda: strided(x).sum().backward()) == 2 * forward  # no gradient of the images is needed
    x.requires_grad_()
    assert _recorded(lambda: strided(x).sum().backward()) == 3 * forward

    up = nn.ConvTranspose2d(3, 8, 4, 2, 1)
    assert _recorded(lambda: up(x)) == 2 * 2 * (9 * 7) * 3 * (8 * 16)

    linear = nn.Linear(5, 11)
    assert _recorded(lambda: linear(torch.randn(7, 5))) == 2 * 7 * 5 * 11

    q, k = (torch.randn(2, 4, tokens, 8, requires_grad=True) for tokens in (6, 10))
    scores = 2 * 2 * 4 * 6 * 10 * 8
    assert _recorded(lambda: functional.scaled_dot_product_attention(q, k, k)) == 2 * scores
    assert _recorded(lambda: functional.scaled_dot_product_attention(q, k, k).sum().backward()) == 7 * scores


def test_the_floor_is_timed_at_the_recorded_shapes_and_counts() -> None:
    layer = nn.Conv2d(4, 4, 3, padding=1)
    x = torch.randn(2, 4, 8, 8)
    floor = measure_floor(lambda: layer(layer(x)))
    (row,) = floor["costliest"]
    assert row["count"] == floor["products"] == 2
    assert row["product"] == "convolution 2x4x8x8 4x4x3x3"
    assert floor["seconds"] == pytest.approx(row["seconds"])
    assert row["gflops"] == pytest.approx(floor["flops"] / floor["seconds"] / 1e9)
