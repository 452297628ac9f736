"""Which number format networks run in, and copies in bfloat16."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unstir.models import precision
from unstir.models.precision import autocast, low_precision_copy, resolve_precision
from unstir.networks.unet import UNet

HEAVY = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def network() -> nn.Module:
    """Return a network with every kind of layer that the package's have."""
    layers = nn.Sequential(
        UNet(2, channels=(16, 24), blocks=1, attention=("linear", "full")),
        nn.BatchNorm2d(2),
        nn.ConvTranspose2d(2, 3, 2, stride=2),
        nn.Embedding(5, 4),
    )
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("faster", ["bf16", "float32"])
def test_auto_is_the_faster_on_a_cpu(faster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "speeds", lambda: {"bf16": 5.0, "float32": 5.0} | {faster: 7.0})
    assert resolve_precision("auto", CPU) == faster
    assert resolve_precision("fp16", CPU) == faster  # which a model of a GPU may ask for
    for wanted in ("bf16", "float32"):
        assert resolve_precision(wanted, CPU) == wanted


def test_autocast_is_in_the_format() -> None:
    x = torch.ones(2, 2)
    for kind, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("float32", torch.float32)):
        with autocast(kind, CPU):
            assert (x @ x).dtype == dtype


def test_a_low_precision_copy_holds_bfloat16_where_the_work_is_and_shares_all_else() -> None:
    model = network()
    model[1](torch.randn(4, 2, 3, 3) + 1)  # type: ignore[index,operator]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copied = low_precision_copy(model)
    seen = set()
    for (path, layer), other in zip(copied.named_modules(), model.modules(), strict=True):
        assert layer is not other
        heavy = isinstance(layer, HEAVY)
        for (name, low), high in zip(
            layer.named_parameters(recurse=False), other.parameters(recurse=False), strict=True
        ):
            seen.add(heavy)
            assert isinstance(low, nn.Parameter)
            assert low.requires_grad
            assert (low is high) == (not heavy), f"{path}.{name}"
            assert low.dtype == (torch.bfloat16 if heavy else torch.float32), f"{path}.{name}"
            assert torch.equal(low, high.to(low.dtype))
            assert low.stride() == high.stride()
        for low_buffer, buffer in zip(layer.buffers(recurse=False), other.buffers(recurse=False), strict=True):
            assert low_buffer is buffer
    assert seen == {False, True}
    for name, value in model.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name]), name


def test_what_a_copy_learns_of_its_batches_is_the_models_too() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    copied = low_precision_copy(model)
    with torch.autocast("cpu", torch.bfloat16):
        copied(torch.randn(8, 1, 4, 4) + 3)
    assert model[1].num_batches_tracked == 1
    assert model[1].running_mean.abs().min() > 0  # type: ignore[union-attr,operator]


def test_a_copy_gives_under_autocast_what_the_model_gives() -> None:
    model = network()[0].eval()  # type: ignore[index]
    copied = low_precision_copy(model)
    x, t = torch.randn(2, 2, 8, 8), torch.tensor([0.1, 0.9])
    results = []
    for network_ in (model, copied):
        with torch.autocast("cpu", torch.bfloat16):
            results.append(network_(x, t).float())
    torch.testing.assert_close(
        results[0], results[1], rtol=1e-3, atol=1e-3 * float(results[0].detach().abs().max())
    )
    assert (results[0] - model(x, t)).norm() < 0.05 * model(x, t).norm()


def test_gradients_flow_through_a_copy_to_its_inputs() -> None:
    model = network()[0].eval()  # type: ignore[index]
    x, t = torch.randn(2, 2, 8, 8), torch.tensor([0.1, 0.9])
    gradients = []
    for one in (model, low_precision_copy(model)):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=one is not model):
            one(given, t).float().square().sum().backward()
        assert given.grad is not None
        gradients.append(given.grad)
    assert (gradients[1] - gradients[0]).norm() < 0.05 * gradients[0].norm()
