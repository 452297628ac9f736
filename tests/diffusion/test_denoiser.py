"""A denoiser shows its network the right things and reads its output in the images' own precision."""

import math

import pytest
import torch
from torch import Tensor, nn

from unstir.diffusion import Condition, Denoiser, NoiseLevel, Sockets
from unstir.diffusion.denoiser import c_noise, schedule_time
from unstir.diffusion.parameterization import Karras, parameterization
from unstir.diffusion.schedule import flow, linear, ve, vp
from unstir.networks.embedding import sinusoids


class Recorder(nn.Module):
    """Keeps what it was shown and answers with a fixed output."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets) -> Tensor:
        self.seen = (x, t, sockets)
        return self.output


class LabelAsVector(nn.Module):
    """A conditioner that keeps the images it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))

    def forward(self, condition: Condition | None, x: Tensor) -> Sockets:
        self.seen = x
        label = torch.full((len(x),), -1.0) if condition is None else condition.parts["label"][0]
        return Sockets(vector=self.gain * label[:, None])


@pytest.mark.parametrize("name", ["eps", "x0", "v", "score", "mean", "karras"])
def test_a_perfect_network_gives_a_perfect_prediction(name: str) -> None:
    schedule = linear(10)
    level = schedule.level(torch.tensor([1, 4, 10]))
    x0, eps = torch.randn(2, 3, 1, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    meaning = parameterization(name, schedule)
    denoiser = Denoiser(Recorder(meaning.target(x0, eps, level)), meaning, schedule)
    prediction = denoiser(level.noise(x0, eps), level)
    torch.testing.assert_close(prediction.x0, x0, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(prediction.eps, eps, rtol=1e-9, atol=1e-9)
    assert prediction.level is level


def test_the_network_sees_time_and_condition() -> None:
    schedule = linear(8)
    x = torch.randn(3, 1, 2, 2)
    network, conditioner = Recorder(torch.zeros_like(x)), LabelAsVector()
    denoiser = Denoiser(network, parameterization("eps", schedule), schedule, conditioner)
    denoiser(x, schedule.level(6), Condition.of({"label": torch.tensor([1.0, 2.0, 3.0])}))
    assert torch.equal(network.seen[0], x)
    assert network.seen[1].dtype == torch.float32 and network.seen[1].tolist() == [0.75] * 3
    assert network.seen[2].vector.tolist() == [[2], [4], [6]]
    assert conditioner.seen is x
    denoiser(x, schedule.level(torch.tensor([0, 2, 8])))
    assert network.seen[1].tolist() == [0, 0.25, 1]
    assert network.seen[2].vector.tolist() == [[-2], [-2], [-2]]
    untold = Denoiser(network, parameterization("eps", schedule), schedule)
    untold(x, schedule.level(6))
    assert (network.seen[2].vector, network.seen[2].tokens, network.seen[2].image) == (None, None, None)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_the_time_keeps_its_precision_whatever_the_images_have(dtype: torch.dtype) -> None:
    schedule, x = linear(1000), torch.randn(1000, 1, 1, 1).to(dtype)
    network = Recorder(torch.zeros_like(x))
    n = torch.arange(1, 1001)
    Denoiser(network, parameterization("eps", schedule), schedule)(x, schedule.level(n))
    shown, t, _ = network.seen
    assert shown.dtype == dtype and t.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert (t.double() * 1000 - n).abs().max() < 1e-4
    assert sinusoids(t, 32).unique(dim=0).shape[0] == 1000


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_what_the_network_is_told_of_the_level_may_be_chosen(dtype: torch.dtype) -> None:
    schedule = ve(0.02, 80.0)
    level, x = schedule(torch.tensor([0.2, 0.5, 1.0])), torch.randn(3, 1, 2, 2).to(dtype)
    sigma = [0.02 * 4000**t for t in (0.2, 0.5, 1.0)]
    for time, expected in (
        (c_noise, [math.log(s) / 4 for s in sigma]),
        (lambda level: 2 * level.sigma.log(), [2 * math.log(s) for s in sigma]),
        (schedule_time, [0.2, 0.5, 1.0]),
    ):
        network = Recorder(torch.zeros_like(x))
        Denoiser(network, parameterization("eps", schedule), schedule, time=time)(x, level)
        assert network.seen[1].tolist() == pytest.approx(expected, rel=1e-6)
    scaled = vp()(0.4)
    assert float(c_noise(scaled)) == pytest.approx(math.log(float(scaled.sigma / scaled.alpha)) / 4)


class Affine(nn.Module):
    """A network whose gradients are known: ``3 x + vector``."""

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets) -> Tensor:
        assert sockets.vector is not None
        return 3 * x + sockets.vector[..., None, None]


def test_gradients_reach_the_image_the_condition_and_the_conditioner() -> None:
    """With x0 = 3 x + 2 label, also where gradients are enabled inside ``no_grad``, as a guidance does."""
    schedule, conditioner = linear(8), LabelAsVector()
    denoiser = Denoiser(Affine(), parameterization("x0", schedule), schedule, conditioner)
    x, label = torch.randn(2, 1, 2, 2, requires_grad=True), torch.tensor([1.0, 5.0], requires_grad=True)
    with torch.no_grad(), torch.enable_grad():
        total = denoiser(x, schedule.level(4), Condition.of({"label": label})).x0.sum()
    dx, dlabel, dgain = torch.autograd.grad(total, (x, label, conditioner.gain))
    assert (dx == 3).all()
    assert dlabel.tolist() == [8, 8]
    assert dgain == 4 * 6
    with torch.no_grad():
        assert not denoiser(x, schedule.level(4)).x0.requires_grad


def test_a_learned_variance_is_the_last_channels() -> None:
    schedule = linear(8)
    x, output = torch.randn(2, 3, 2, 2), torch.randn(2, 6, 2, 2)
    meaning = parameterization("eps", schedule)
    denoiser = Denoiser(Recorder(output), meaning, schedule, learned_variance=True)
    prediction = denoiser(x, schedule.level(4))
    torch.testing.assert_close(prediction.eps, output[:, :3])
    assert torch.equal(prediction.variance, (output[:, 3:] + 1) / 2)


def test_the_network_sees_the_scaled_input() -> None:
    x = torch.full((1, 1, 2, 2), 3.0)
    network = Recorder(torch.zeros_like(x))
    Denoiser(network, Karras(0.5), flow())(x, flow()(0.6))
    torch.testing.assert_close(network.seen[0], x / (0.36 + 0.16 * 0.25) ** 0.5)


def test_low_precision_outputs_are_read_in_the_precision_of_x() -> None:
    schedule = linear(1000)
    level: NoiseLevel = schedule.level(3)
    output = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    denoiser = Denoiser(Recorder(output), parameterization("eps", schedule), schedule)
    with torch.autocast("cpu", torch.bfloat16):
        prediction = denoiser(x, level)
    assert prediction.x0.dtype == prediction.eps.dtype == torch.float32
    torch.testing.assert_close(level.noise(prediction.x0, prediction.eps), x, rtol=1e-6, atol=1e-6)
