"""A prediction's two halves describe the same x, at both ends of the forward process too."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from unstir.diffusion import NoiseLevel, Prediction
from unstir.diffusion.noise_level import broadcast
from unstir.diffusion.prediction import divide
from unstir.diffusion.schedule import flow, linear, ve


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_noise_weighs_image_and_noise() -> None:
    level = NoiseLevel(torch.tensor(0.5), torch.tensor(0.8), torch.tensor(0.6))
    x = level.noise(torch.full((1, 1, 1, 2), 2.0), torch.tensor([[[[1.0, -3.0]]]]))
    torch.testing.assert_close(x, torch.tensor([[[[2.2, -0.2]]]]))


def test_noise_takes_one_level_per_image() -> None:
    x0, eps = normal(3, 2, 4, 5), normal(3, 2, 4, 5, seed=1)
    level = linear(10).level(torch.tensor([0, 4, 10]))
    together = level.noise(x0, eps)
    for i, n in enumerate((0, 4, 10)):
        alone = linear(10).level(n).noise(x0[i : i + 1], eps[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=0)
    assert torch.equal(together[0], x0[0])


def test_clean_is_clean() -> None:
    x0, eps = normal(2, 3), normal(2, 3, seed=1)
    assert torch.equal(NoiseLevel.clean().noise(x0, eps), x0)


def test_broadcast_follows_the_images() -> None:
    x = torch.zeros(3, 2, 5, 7)
    assert broadcast(torch.arange(3.0).double(), x).shape == (3, 1, 1, 1)
    assert broadcast(torch.ones(()).double(), x).dtype == torch.float32


@pytest.mark.parametrize("schedule", [linear(50), flow(), ve()], ids=["linear", "flow", "ve"])
def test_both_ways_of_completing_describe_x(schedule) -> None:
    x, guess = normal(5, 2, 3, 3), normal(5, 2, 3, 3, seed=1)
    level = schedule(torch.tensor([0.02, 0.1, 0.5, 0.9, 1.0]))
    alpha, sigma = level.coefficients(x)
    from_x0 = Prediction.from_x0(guess, x, level)
    assert torch.equal(from_x0.x0, guess)
    torch.testing.assert_close(alpha * from_x0.x0 + sigma * from_x0.eps, x, rtol=1e-10, atol=1e-10)
    from_eps = Prediction.from_eps(guess, x, level)
    assert torch.equal(from_eps.eps, guess)
    known = level.alpha > 0
    torch.testing.assert_close((alpha * from_eps.x0 + sigma * guess)[known], x[known], rtol=1e-10, atol=1e-10)


def test_numbers_lists_and_arrays_stand_for_tensors() -> None:
    x, guess = normal(2, 3), normal(2, 3, seed=1)
    expected = NoiseLevel(*torch.tensor([0.5, 0.8, 0.6], dtype=torch.float64))
    given = [NoiseLevel(0.5, 0.8, 0.6), NoiseLevel(np.float64(0.5), np.array(0.8), 0.6)]
    for level in given:
        assert all(
            part.dtype == torch.float64 and part.shape == () for part in (level.t, level.alpha, level.sigma)
        )
        for make in (Prediction.from_x0, Prediction.from_eps):
            exact = make(guess, x, expected)
            for kind in (torch.Tensor.numpy, torch.Tensor.tolist):
                found = make(kind(guess), kind(x), level)
                for part in ("x0", "eps", "score", "v"):
                    torch.testing.assert_close(
                        getattr(found, part).double(), getattr(exact, part), rtol=1e-5, atol=1e-5
                    )
    each = NoiseLevel([0.1, 0.5], [0.9, 0.8], np.array([0.3, 0.6]))
    torch.testing.assert_close(each.noise(x, guess)[1], expected.noise(x, guess)[1])
    assert each.log_snr.tolist() == pytest.approx([2 * math.log(3), 2 * math.log(0.8 / 0.6)])
    single = torch.tensor(0.5)
    assert NoiseLevel(single, single, single).t is single
    assert replace(each, sigma=1.0).sigma.tolist() == [1, 1]


def test_a_levels_parts_have_one_shape() -> None:
    for t, alpha, sigma in ((0.5, [0.8, 0.6], 0.6), ([0.1, 0.5], 1.0, 0.3), (0.5, 1.0, torch.tensor([0.2, 0.3]))):
        level = NoiseLevel(t, alpha, sigma)
        assert level.t.shape == level.alpha.shape == level.sigma.shape == level[:].t.shape == (2,)
        for i in (0, 1):
            for found, given in ((level[i].t, t), (level[i].alpha, alpha), (level[i].sigma, sigma)):
                assert float(found) == (given if isinstance(given, float) else given[i])


def test_views_of_any_order_stand_for_tensors() -> None:
    numbers = np.array([0.1, 0.2, 0.3])[::-1]
    level = NoiseLevel(0.5, numbers, np.ones((), ">f8"))
    assert level.alpha.tolist() == [0.3, 0.2, 0.1] and level.sigma.tolist() == [1, 1, 1]
    numbers[:] = 0  # what becomes of an array later is another matter
    assert level.alpha.tolist() == [0.3, 0.2, 0.1]
    x = normal(3, 4)
    for make in (Prediction.from_x0, Prediction.from_eps):
        found, exact = make(x.numpy()[:, ::-1], x.numpy()[::-1], level), make(x.flip(1), x.flip(0), level)
        assert torch.equal(found.x0, exact.x0) and torch.equal(found.eps, exact.eps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_predicted_is_like_the_images(dtype: torch.dtype) -> None:
    """In shape, type and device, however it is told; and what is told by a tensor stays that tensor."""
    x, level = normal(2, 3, 4).to(dtype), NoiseLevel([0.3, 0.5], [0.9, 0.8], [0.4, 0.6])
    whole = np.arange(24).reshape(2, 3, 4)
    each = torch.tensor([2.0, -1.0], dtype=dtype).reshape(2, 1, 1)
    answers = [
        (0.25, torch.full_like(x, 0.25)),
        (np.float32(0.25), torch.full_like(x, 0.25)),
        (torch.tensor(3), torch.full_like(x, 3)),
        ([2, -1], each.expand_as(x)),
        (np.array([2.0, -1.0]), each.expand_as(x)),
        (torch.tensor([2.0, -1.0]), each.expand_as(x)),
        (whole, torch.tensor(whole).to(dtype)),
        (whole.astype(np.float64).tolist(), torch.tensor(whole).to(dtype)),
    ]
    for make, part in ((Prediction.from_x0, "x0"), (Prediction.from_eps, "eps")):
        for answer, expected in answers:
            found, exact = make(answer, x, level), make(expected, x, level)
            assert found.x0.dtype == found.eps.dtype == dtype
            assert torch.equal(getattr(found, part), expected)
            assert torch.equal(found.x0, exact.x0) and torch.equal(found.eps, exact.eps)
            getattr(found, part).add_(1)  # its pixels are each their own
        for tensor in (x + 1, (x + 1).double(), (x + 1).transpose(1, 2).contiguous().transpose(1, 2)):
            assert getattr(make(tensor, x, level), part) is tensor
        with pytest.raises(RuntimeError):
            make([1.0, 2.0, 3.0], x, level)


def test_what_is_predicted_goes_to_the_device_of_the_images() -> None:
    x = torch.empty(2, 3, device="meta")
    for answer in (0.2, [0.1, 0.2], np.zeros((2, 3))):
        for make in (Prediction.from_x0, Prediction.from_eps):
            found = make(answer, x, NoiseLevel(0.5, 0.8, 0.6))
            assert found.x0.device == found.eps.device == x.device and found.x0.shape == found.eps.shape == (2, 3)


def test_what_cannot_be_known_is_zero() -> None:
    x, guess = normal(2, 3), normal(2, 3, seed=1)
    ends = flow()(torch.tensor([0.0, 1.0]))
    from_x0, from_eps = Prediction.from_x0(guess, x, ends), Prediction.from_eps(guess, x, ends)
    assert torch.equal(from_x0.eps, torch.stack([torch.zeros(3).double(), x[1]]))
    assert torch.equal(from_eps.x0, torch.stack([x[0], torch.zeros(3).double()]))
    assert torch.equal(from_x0.score, torch.stack([torch.zeros(3).double(), -x[1]]))


def test_score_and_v_are_the_papers() -> None:
    level = NoiseLevel(*torch.tensor([0.5, 0.8, 0.6], dtype=torch.float64))
    x0, eps = torch.tensor([[2.0, -1.0]]).double(), torch.tensor([[0.5, 3.0]]).double()
    prediction = Prediction(x0, eps, level)
    torch.testing.assert_close(prediction.score, torch.tensor([[-0.5 / 0.6, -5.0]]).double())
    torch.testing.assert_close(prediction.v, torch.tensor([[0.4 - 1.2, 2.4 + 0.6]]).double())


def test_v_is_the_velocity_of_the_angle() -> None:
    # With alpha = cos phi and sigma = sin phi, v = dx / dphi (Salimans and Ho 2022, appendix D).
    x0, eps = normal(1, 4), normal(1, 4, seed=1)
    phi, h = torch.tensor(0.7).double(), 1e-6

    def x(angle: torch.Tensor) -> torch.Tensor:
        return NoiseLevel(angle, angle.cos(), angle.sin()).noise(x0, eps)

    difference = (x(phi + h) - x(phi - h)) / (2 * h)
    torch.testing.assert_close(Prediction(x0, eps, NoiseLevel(phi, phi.cos(), phi.sin())).v, difference)


def test_score_is_the_gradient_of_the_noising_density() -> None:
    x0, eps = normal(2, 3), normal(2, 3, seed=1)
    level = linear(10).level(torch.tensor([2, 9]))
    alpha, sigma = level.coefficients(x0)
    x = level.noise(x0, eps).requires_grad_()
    density = torch.distributions.Normal(alpha * x0, sigma.expand_as(x0)).log_prob(x).sum()
    (gradient,) = torch.autograd.grad(density, x)
    torch.testing.assert_close(Prediction(x0, eps, level).score, gradient)


def test_dividing_by_zero_has_a_finite_gradient() -> None:
    a = torch.tensor([3.0, 4.0], requires_grad=True)
    b = torch.tensor([0.0, 2.0], requires_grad=True)
    quotient = divide(a, b)
    assert quotient.tolist() == [0, 2]
    quotient.sum().backward()
    assert a.grad is not None and b.grad is not None
    assert a.grad.tolist() == [0, 0.5] and b.grad.tolist() == [0, -1]
