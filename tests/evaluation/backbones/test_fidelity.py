"""torch-fidelity's networks, of random weights where their own would have to be downloaded."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from unstir.errors import InputError
from unstir.evaluation.backbones import fidelity as module
from unstir.evaluation.backbones.backbone import NetworkBackbone
from unstir.evaluation.backbones.fidelity import clip, dinov2, fidelity, inception
from unstir.evaluation.backbones.load import load
from unstir.evaluation.backbones.names import BackboneName


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of Inception's weights, random ones, as torch-fidelity reads it."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
        for name in ("trunc_normal_", "kaiming_uniform_"):  # which on this architecture take most of a minute
            patch.setattr(f"torch.nn.init.{name}", lambda tensor, *_, **__: tensor)
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    random = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
        if parameter.dim() == 4:
            parameter.normal_(generator=random).mul_((2 / parameter[0].numel()) ** 0.5)
        elif parameter.dim() == 2:
            parameter.normal_(generator=random).mul_(0.05)
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def backbone(weights: Path) -> NetworkBackbone:
    return inception(weights)


def test_inception_is_torch_fidelitys(backbone: NetworkBackbone, weights: Path, images: Tensor) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights)
    )
    spatial: list[Tensor] = []
    theirs.Mixed_6d.branch1x1.bn.register_forward_hook(lambda layer, given, found: spatial.append(found.clone()))
    images = images[:2]
    pixels = ((images + 1) * 127.5).round().to(torch.uint8)
    with torch.no_grad():
        features, logits = theirs(pixels)
    seen = backbone.read(images)
    assert seen.features.shape == (2, 2048) and seen.features.dtype == torch.float64
    torch.testing.assert_close(seen.features.float(), features, rtol=1e-3, atol=1e-4 * float(features.max()))
    assert seen.probabilities is not None and seen.probabilities.shape == (2, 1008)
    torch.testing.assert_close(seen.probabilities.float(), logits.softmax(1), rtol=1e-2, atol=1e-4)
    # The branch's first seven channels, after the ReLU that follows its batch norm.
    expected = spatial[0][:, :7].relu().flatten(1)
    assert seen.spatial is not None and seen.spatial.shape == (2, 2023)
    torch.testing.assert_close(seen.spatial.float(), expected, rtol=1e-3, atol=1e-4 * float(expected.max()))
    assert 0.05 < float((seen.spatial == 0).double().mean()) < 0.95


@pytest.mark.slow
def test_other_weights_have_another_key(backbone: NetworkBackbone, weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights, weights_only=True)
    state["fc.bias"] = state["fc.bias"] + 1
    torch.save(state, tmp_path / "other.pth")
    assert inception(tmp_path / "other.pth").key != backbone.key
    state["fc.bias"] = state["fc.bias"][:3]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(InputError, match="another network's weights than 'inception'"):
        inception(tmp_path / "short.pth")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("inception", "hub/checkpoints/weights-inception-2015-12-05-6726825d.pth, or name its place"),
        ("clip", "hub/checkpoints/clip-vit-b-32-40d36571.*pt, or name its place"),
        ("dinov2", "hub/facebookresearch_dinov2_main and https://.*hub/checkpoints/dinov2_vitl14_pretrain.pth"),
        ("dinov2-small", "dinov2_vits14_pretrain.pth; name another folder with 'dinov2-small@FOLDER'"),
        (
            "torchvision:resnet18",
            "hub/checkpoints/resnet18-.*pth, or name its place with 'torchvision:resnet18@PATH'",
        ),
    ],
)
def test_without_a_network_it_says_where_weights_go(name: str, says: str, hub: Path) -> None:
    with pytest.raises(InputError, match=says) as told:
        load(BackboneName.parse(name))
    assert "\n" not in str(told.value) and str(hub) in str(told.value)
    assert not [path for path in hub.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["inception", "clip", "dinov2", "torchvision:resnet18", "efficientnet-lite0"])
def test_a_path_where_nothing_is_is_told(name: str, hub: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load(BackboneName.parse(f"{name}@{tmp_path}/nowhere"))


@pytest.mark.parametrize("name", ["inception", "clip"])
def test_what_lies_in_the_place_of_known_weights_is_refused(name: str, hub: Path) -> None:
    with pytest.raises(InputError) as told:
        load(BackboneName.parse(name))
    place = Path(str(told.value).partition(" at ")[2].partition(", or")[0])
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"another's")
    with pytest.raises(InputError, match="its hash does not begin with"):
        load(BackboneName.parse(name))


def test_what_is_no_weights_is_not_unpickled(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    torch.save({"fc.weight": Evil()}, tmp_path / "evil.pth", pickle_module=pickle)
    with pytest.raises(InputError, match="holds no weights of 'inception' that can be read"):
        inception(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_an_older_torch_fidelity_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.3.0")
    with pytest.raises(
        InputError, match=r"0.4 or later, and 0.3.0 is installed: pip install 'unstir\[evaluate\]'"
    ):
        fidelity("inception")


def test_clip_is_read_from_the_file_that_is_known(
    tmp_path: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    from torch_fidelity import feature_extractor_clip as theirs

    class Part(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    torch.manual_seed(0)
    network = theirs.CLIPVisual(8, 32, 2, 64, 16)
    whole = Part()
    for name, tensor in {**network.state_dict(), "text_projection": torch.zeros(4, 8)}.items():
        at = whole
        for part in name.split(".")[:-1]:
            if not hasattr(at, part):
                at.add_module(part, Part())
            at = getattr(at, part)
        at.register_buffer(name.split(".")[-1], tensor.half() if tensor.is_floating_point() else tensor)
    kept = io.BytesIO()
    torch.jit.save(torch.jit.script(whole), kept)
    (tmp_path / "clip.pt").write_bytes(kept.getvalue())
    with pytest.raises(InputError, match="its hash does not begin with 40d36571"):
        clip("clip", tmp_path / "clip.pt")
    known = {"hash": hashlib.sha256(kept.getvalue()).hexdigest(), "filename": "x"}
    monkeypatch.setitem(theirs.MODEL_METADATA, "clip-vit-b-32", known)
    seen = clip("clip", tmp_path / "clip.pt").read(images)
    assert seen.features.shape == (5, 8) and seen.probabilities is None
    assert (torch.cdist(seen.features, seen.features) + torch.eye(5)).min() > 1e-3


HUBCONF = """
import torch


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 6)

    def forward(self, x):
        return self.linear(x.mean((2, 3)))


def dinov2_vits14():
    model = Small()
    url = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth"
    model.load_state_dict(torch.hub.load_state_dict_from_url(url))
    return model
"""


def test_dinov2_is_made_by_the_code_that_was_put_there(hub: Path, tmp_path: Path, images: Tensor) -> None:
    home = tmp_path / "own"
    (home / "facebookresearch_dinov2_main").mkdir(parents=True)
    (home / "checkpoints").mkdir()
    (home / "facebookresearch_dinov2_main" / "hubconf.py").write_text(HUBCONF)
    with pytest.raises(InputError, match=r"dinov2_vits14_pretrain\.pth"):
        dinov2("dinov2-small", home)
    linear = nn.Linear(3, 6)
    state = {f"linear.{name}": value for name, value in linear.state_dict().items()}
    torch.save(state, home / "checkpoints" / "dinov2_vits14_pretrain.pth")
    usual, load_before = torch.hub.get_dir(), torch.hub.load
    found = dinov2("dinov2-small", home).read(images).features
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    flat = torch.tensor([0.2, -0.4, 0.6])[None, :, None, None].expand(1, -1, 9, 9)
    pixels = ((flat[..., 0, 0] + 1) * 127.5).round() / 255
    expected = linear((pixels - mean) / deviation).detach().double()
    torch.testing.assert_close(dinov2("dinov2-small", home).read(flat).features, expected, atol=1e-5, rtol=1e-5)
    assert found.shape == (5, 6)
    assert torch.hub.get_dir() == usual and torch.hub.load is load_before
    assert module._DINOV2["dinov2-small"] == "dinov2-vit-s-14"
