from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from unstir.networks import regularization
from unstir.networks.regularization import KL, VQ
from unstir.networks.standard import Standard

AS_IT_IS = Standard(3)


def book(latent: int = 3, codes: int = 40) -> VQ:
    """A codebook whose map is no identity."""
    torch.manual_seed(0)
    made = VQ(latent, codes, beta=0.25)
    torch.nn.init.normal_(made.map)
    torch.nn.init.normal_(made.shift)
    return made


def test_kl_is_that_of_the_distributions() -> None:
    h = torch.randn(5, 6, 2, 3)
    mean, log_variance = KL(1.0, 24).moments(h)
    assert torch.equal(torch.cat([mean, log_variance], 1), h)
    theirs = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).flatten(1).sum(1) / 24
    torch.testing.assert_close(KL(1.0, 24).loss(mean, mean, log_variance), theirs)
    assert KL(1.0, 24).loss(*torch.zeros(3, 2, 3, 1, 1)).eq(0).all()


def test_the_nearest_code_is_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    vq, z = book(), torch.randn(2, 3, 4, 5)
    codes = vq.book @ vq.map.T + vq.shift
    for i, y, x in ((0, 0, 0), (1, 3, 4), (1, 2, 1)):
        distances = (codes - z[i, :, y, x]).square().sum(1)
        assert int(vq.indices(z)[i, y, x]) == int(distances.argmin())
        torch.testing.assert_close(vq.seen(z, AS_IT_IS)[i, :, y, x], codes[distances.argmin()])
    whole = vq.indices(z)
    monkeypatch.setattr(regularization, "AT_ONCE", 3 * 40)
    assert torch.equal(vq.indices(z), whole)
    assert torch.equal(vq.seen(vq.nearest(z), AS_IT_IS), vq.nearest(z))  # what is quantized stays


def test_gradients_pass_to_the_encoder_as_if_nothing_were_quantized_and_none_to_the_codes() -> None:
    vq, z = book(), torch.randn(2, 3, 4, 5, requires_grad=True)
    weights = torch.randn(2, 3, 4, 5)
    (weights * vq.seen(z, AS_IT_IS).square()).sum().backward()
    torch.testing.assert_close(z.grad, 2 * weights * vq.nearest(z).detach())  # at q, not at z
    assert vq.map.grad is None and vq.shift.grad is None


def test_the_loss_draws_both_to_each_other_the_encoder_by_beta() -> None:
    vq, z = book(), torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = vq.loss(z, z, None)
    error = (z - vq.nearest(z)).detach()
    torch.testing.assert_close(loss, 1.25 * error.square().mean()[None])
    loss.sum().backward()
    torch.testing.assert_close(z.grad, 0.25 * 2 * error / 12)
    # Of the map: q = W e + b, so dL/dW = -2 (z - q) e^T / 12, summed over the places.
    seen = vq.book[vq.indices(z)[0]].reshape(4, 3)
    errors = error[0].permute(1, 2, 0).reshape(4, 3)
    torch.testing.assert_close(vq.map.grad, -2 * errors.T @ seen / 12)
    torch.testing.assert_close(vq.shift.grad, -2 * errors.sum(0) / 12)


def test_whatever_their_place_and_size_codes_find_all_of_the_codebook() -> None:
    """Far from where the codebook began, one code is the nearest to all; in unit variance nearly all are met."""
    torch.manual_seed(0)
    vq, standard = VQ(2, 32, beta=0.25), Standard(2)
    z = 0.1 * torch.randn(64, 2, 8, 8) + torch.tensor([5.0, -3.0])[:, None, None]
    standard.observe(z)
    assert len(vq.indices(z).unique()) < 5
    assert len(vq.indices(standard(z)).unique()) > 28
    torch.testing.assert_close(KL(1.0, 1).seen(standard(z), standard), z)
