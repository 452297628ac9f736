from __future__ import annotations

import torch

from unstir.networks.standard import SPAN, Standard


def test_what_was_seen_comes_to_mean_0_and_variance_1_and_back() -> None:
    torch.manual_seed(0)
    standard = Standard(3)
    torch.testing.assert_close(standard(torch.ones(1, 3, 2, 2)), torch.ones(1, 3, 2, 2))  # before anything was
    scales, shifts = torch.tensor([0.1, 2.0, 30.0]), torch.tensor([5.0, -1.0, 0.0])
    batches = [torch.randn(16, 3, 8, 8) * scales[:, None, None] + shifts[:, None, None] for _ in range(20)]
    for batch in batches:
        standard.observe(batch)
    z = torch.cat(batches)
    codes = standard(z)
    torch.testing.assert_close(codes.mean((0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(codes.var((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(standard.undone(codes), z, atol=1e-4, rtol=1e-5)


def test_it_follows_what_changes() -> None:
    standard = Standard(1)
    for value in [100.0] * SPAN + [0.0] * 12 * SPAN:
        standard.observe(value + torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1))
    assert abs(float(standard.shift)) < 0.01
    assert 0.9 < float(standard.scale) < 1.1
