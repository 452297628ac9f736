from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from unstir.errors import InputError
from unstir.networks import perceptual
from unstir.networks.perceptual import between, feature_distance, in_colour
from unstir.networks.perceptual_config import LPIPS_URL, VGG_URL, PerceptualConfig

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def distance() -> perceptual.Distance:
    return PerceptualConfig().load(CPU)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of VGG16's and LPIPS's weights, random ones; of VGG16's linear layers, which nobody asks, none."""
    from torchvision.models import vgg16

    folder = tmp_path_factory.mktemp("lpips")
    torch.manual_seed(0)
    with torch.device("meta"):
        names = vgg16(weights=None).state_dict()
    state = {
        name: torch.randn(like.shape) * (2 / like[0].numel()) ** 0.5
        if like.dim() == 4
        else torch.zeros(like.shape)
        for name, like in names.items()
        if name.startswith("features.")
    }
    torch.save(state, folder / VGG_URL.rpartition("/")[2])
    heads = {
        f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate((64, 128, 256, 512, 512))
    }
    torch.save(heads, folder / LPIPS_URL.rpartition("/")[2])
    return folder


def test_the_distance_is_that_of_its_definition() -> None:
    a, b = ([torch.randn(2, 3, 4, 5), torch.randn(2, 7, 2, 2)] for _ in range(2))
    weights = [torch.rand(3, 1, 1), torch.rand(7, 1, 1)]
    expected, weighted = torch.zeros(2), torch.zeros(2)
    for x, y, weight in zip(a, b, weights):
        error = (x / x.norm(dim=1, keepdim=True) - y / y.norm(dim=1, keepdim=True)) ** 2
        expected += error.sum(1).mean((1, 2)) / 2
        weighted += (weight * error).sum(1).mean((1, 2)) / 2
    torch.testing.assert_close(feature_distance(a, b), expected)
    torch.testing.assert_close(feature_distance(a, b, weights), weighted)
    assert not feature_distance(a, a).any()
    torch.testing.assert_close(feature_distance(a, [-x for x in a]), torch.full((2,), 4.0))


def test_lpips_is_torch_fidelitys(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_fidelity import sample_similarity_lpips as module
    from torchvision.models import vgg16

    heads = torch.load(weights / LPIPS_URL.rpartition("/")[2], weights_only=True)
    state = torch.load(weights / VGG_URL.rpartition("/")[2], weights_only=True)

    class Features:
        features = vgg16(weights=None).features

    Features.features.load_state_dict({name.removeprefix("features."): value for name, value in state.items()})
    monkeypatch.setattr(module, "load_state_dict_from_url", lambda *_, **__: heads)
    monkeypatch.setattr(module, "torchvision_load_pretrained_vgg16", lambda: Features)
    theirs = module.SampleSimilarityLPIPS("lpips")
    x, y = (torch.randint(0, 256, (2, 3, 32, 40), generator=torch.Generator().manual_seed(i)) for i in range(2))
    mine = PerceptualConfig(network=f"lpips@{weights}").load(CPU)
    with torch.no_grad():
        expected = theirs(x, y) / 5
    torch.testing.assert_close(mine(x / 127.5 - 1, y / 127.5 - 1), expected, atol=1e-5, rtol=1e-4)
    assert expected.min() > 0.01


@pytest.mark.parametrize("network", ["efficientnet-lite0", "lpips"])
def test_gradients_bring_an_image_nearer(network: str, weights: Path) -> None:
    config = PerceptualConfig(network=network if network != "lpips" else f"lpips@{weights}")
    apart, random = config.load(CPU), torch.Generator().manual_seed(0)
    y = torch.rand(2, 3, 32, 32, generator=random) * 2 - 1
    x = (y + 0.3 * torch.randn(2, 3, 32, 32, generator=random)).requires_grad_()
    target = y.clone().requires_grad_()
    before = apart(x, target)
    (slope,) = torch.autograd.grad(before.sum(), x, retain_graph=True)
    assert torch.autograd.grad(before.sum(), target, allow_unused=True) == (None,)
    after = apart((x - 0.5 * slope / slope.abs().mean() * 0.02).detach(), y)
    assert (after < before).all()
    assert not apart(y, y).any()


def test_each_image_is_compared_by_itself(distance: perceptual.Distance) -> None:
    x, y = torch.rand(2, 3, 3, 24, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    alone = torch.cat([distance(a[None], b[None]) for a, b in zip(x, y)])
    torch.testing.assert_close(distance(x, y), alone, atol=1e-5, rtol=1e-4)


def test_a_blurred_image_is_farther_than_a_brighter_one_of_the_same_error(distance: perceptual.Distance) -> None:
    y = torch.zeros(1, 3, 64, 64)
    y[..., ::4, :] = 0.8
    y[..., :, ::6] = -0.8
    blurred = torch.nn.functional.avg_pool2d(y, 5, 1, 2)
    error = (blurred - y).square().mean().sqrt()
    assert distance(blurred, y) > 2 * distance((y + error).clamp(-1, 1), y)


def test_gray_images_are_seen_in_colour_and_transparent_ones_on_white(distance: perceptual.Distance) -> None:
    x = torch.rand(2, 4, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(in_colour(x[:, :1]), x[:, :1].expand(-1, 3, -1, -1))
    opacity = (x[:, 3:] + 1) / 2
    seen = (x[:, :3] + 1) / 2 * opacity + (1 - opacity)
    torch.testing.assert_close(in_colour(x), 2 * seen - 1)
    clear = x.clone()
    clear[:, 3] = -1  # nothing is seen of what is behind
    assert not distance(clear, torch.cat([-x[:, :3], clear[:, 3:]], 1)).any()
    assert distance(x[:, :1], -x[:, :1]).min() > 0.01


def test_it_is_read_once_and_computes_in_float32() -> None:
    assert PerceptualConfig().load(CPU) is PerceptualConfig(weight=3.0).load(CPU)
    kinds: list[torch.dtype] = []

    def layers(x: Tensor) -> list[Tensor]:
        kinds.append((x.flatten(2) @ x.flatten(2).mT).dtype)
        return [x]

    with torch.autocast("cpu", torch.bfloat16):
        between(layers)(torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4))
    assert kinds == [torch.float32] * 2


def test_without_a_download_it_says_where_weights_are_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Path
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"'lpips' needs weights that could not be downloaded.*lpips@PATH"):
        PerceptualConfig(network="lpips").load(CPU)
    half = tmp_path / "half"
    half.mkdir()
    (half / VGG_URL.rpartition("/")[2]).write_bytes((weights / VGG_URL.rpartition("/")[2]).read_bytes())
    with pytest.raises(InputError, match=r"finds no weights at .*weights-vgg16-lpips\.pth"):
        PerceptualConfig(network=f"lpips@{half}").load(CPU)
    torch.save({"lin0.model.1.weight": torch.ones(1, 3, 1, 1)}, half / LPIPS_URL.rpartition("/")[2])
    with pytest.raises(InputError, match="holds another network's weights than 'lpips'"):
        PerceptualConfig(network=f"lpips@{half}").load(CPU)
