"""A denoiser shows its network the right things and reads its output in the images' own precision."""

import pytest
import torch
from torch import Tensor, nn

from unstir.diffusion import Condition, Denoiser, NoiseLevel
from unstir.diffusion.parameterization import Karras, parameterization
from unstir.diffusion.schedule import flow, linear


class Recorder(nn.Module):
    """Keeps what it was shown and answers with a fixed output."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        self.seen = (x, t, condition)
        return self.output


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
    network = Recorder(torch.zeros_like(x))
    denoiser = Denoiser(network, parameterization("eps", schedule), schedule)
    condition = Condition(vector=torch.tensor([1, 2, 3]))
    denoiser(x, schedule.level(6), condition)
    assert torch.equal(network.seen[0], x)
    assert network.seen[1].dtype == torch.float32 and network.seen[1].tolist() == [0.75] * 3
    assert network.seen[2] is condition
    denoiser(x, schedule.level(torch.tensor([0, 2, 8])))
    assert network.seen[1].tolist() == [0, 0.25, 1]
    assert network.seen[2] is None


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
