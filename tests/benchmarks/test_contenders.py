from __future__ import annotations

import os

import pytest
import torch
from benchmarks.contender import Mode
from benchmarks.contenders import BEST, CONTENDERS
from benchmarks.floor import count_flops
from benchmarks.peers import Diffusers
from benchmarks.workloads import QUICK, WORKLOADS

os.environ["TQDM_DISABLE"] = "1"
PEERS = {"diffusers": "diffusers", "ddpm-pytorch": "denoising_diffusion_pytorch"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode", [Mode(), *BEST], ids=lambda mode: f"{mode.precision}-{mode.channels_last}-{mode.tuned}"
)
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_trains_and_draws(name: str, mode: Mode) -> None:
    pytest.importorskip(PEERS[name])
    contender = CONTENDERS[name][0](QUICK["tiny"], mode)
    before = [parameter.detach().clone() for parameter in contender.network.parameters()]
    for _ in range(3):
        contender.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, contender.network.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)
    asked = []
    contender.network.register_forward_hook(lambda *_: asked.append(torch.is_grad_enabled()))
    contender.sample()
    assert contender.network.training
    if name == "ddpm-pytorch":  # diffusers draws with a copy of its weights
        assert asked == [False] * QUICK["tiny"].model.sampling.steps


def test_diffusers_has_the_network_of_the_paper_and_unstirs_arithmetic() -> None:
    pytest.importorskip("diffusers")
    with torch.device("meta"):
        unet = Diffusers.build(None, WORKLOADS["36M"].model.network, (3, 32, 32))
    assert sum(parameter.numel() for parameter in unet.parameters()) == 35_746_307
    flops = [count_flops(CONTENDERS[name][0](QUICK["tiny"], Mode()).step) for name in ("unstir", "diffusers")]
    assert flops[0] == pytest.approx(flops[1], rel=0.02)


def test_without_linear_attention_ddpm_pytorch_keeps_full_attention_where_the_others_have_it() -> None:
    package = pytest.importorskip("denoising_diffusion_pytorch.denoising_diffusion_pytorch")
    network = CONTENDERS["ddpm-pytorch"][0](QUICK["tiny"], Mode()).network
    kinds = [type(part) for part in network.modules()]
    assert package.LinearAttention not in kinds
    assert kinds.count(package.Attention) == 3
