from __future__ import annotations

import pytest
import torch

from unstir.networks.patches import PatchDiscriminator


@pytest.mark.parametrize("size", [(8, 8), (5, 13), (1, 2), (64, 48)])
def test_images_of_any_size_have_a_logit_for_each_place(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(3, (16, 32), 2)
    logits = network(torch.randn(2, 3, *size))
    assert logits.shape == (2, -(-size[0] // 4) * -(-size[1] // 4))
    assert (logits[0] - logits[1]).abs().min() > 0


def test_a_logit_is_of_its_patch() -> None:
    """Away from a patch nothing matters but through the norms, which see the whole image."""
    torch.manual_seed(0)
    network = PatchDiscriminator(1, (16, 32), 2)
    network.norms = torch.nn.ModuleList(_Around() for _ in network.norms)
    x = torch.randn(1, 1, 64, 64, requires_grad=True)
    logits = network(x).view(16, 16)
    (slope,) = torch.autograd.grad(logits[8, 8], x)
    rows = slope[0, 0].abs().sum(1).nonzero()
    assert 16 < int(rows.max() - rows.min()) < 28
    assert int(rows.min()) <= 8 * 4 <= int(rows.max())


class _Around(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x
