from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision import models

from unstir.errors import InputError
from unstir.evaluation.backbones.vision import vision


def test_features_are_what_the_last_layer_takes(tmp_path: Path, images: Tensor) -> None:
    torch.manual_seed(0)
    network = models.resnet18(weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "r.pth")
    backbone = vision("torchvision:resnet18", tmp_path / "r.pth")
    flat = torch.tensor([0.2, -0.4, 0.6])[None, :, None, None].expand(1, -1, 9, 9)
    pixels = ((flat + 1) * 127.5).round() / 255
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (pixels[..., :1, :1].expand(-1, -1, 224, 224) - mean[:, None, None]) / deviation[:, None, None]
    seen, logits = backbone.read(flat), network(x).detach()
    assert seen.features.shape == (1, 512) and seen.probabilities is not None
    torch.testing.assert_close(network.fc(seen.features.float()).detach(), logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(seen.probabilities.float(), logits.softmax(1), atol=1e-5, rtol=1e-3)
    assert len(backbone.read(images).features) == 5


def test_wrong_names_and_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no classifier called 'resnet51'; did you mean 'resnet"):
        vision("torchvision:resnet51")
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="holds another network's weights than 'torchvision:resnet18'"):
        vision("torchvision:resnet18", tmp_path / "a.pth")
    torch.save(models.squeezenet1_1(weights=None).state_dict(), tmp_path / "s.pth")
    with pytest.raises(InputError, match="ends in no linear layer"):
        vision("torchvision:squeezenet1_1", tmp_path / "s.pth")
