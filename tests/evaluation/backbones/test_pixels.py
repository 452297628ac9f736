from __future__ import annotations

import pytest
import torch

from unstir.errors import InputError
from unstir.evaluation.backbones.backbone import check_channels
from unstir.evaluation.backbones.load import load
from unstir.evaluation.backbones.names import BackboneName
from unstir.evaluation.backbones.pixels import PixelBackbone


def test_features_are_the_pixels_or_their_means():
    reader, small = load(BackboneName.parse("pixels")), torch.rand(3, 2, 8, 16) * 2 - 1
    assert isinstance(reader, PixelBackbone)
    assert reader.read(small).features.tolist() == small.flatten(1).double().tolist()
    large = torch.rand(2, 4, 32, 48)
    means = large.unflatten(2, (16, 2)).unflatten(4, (16, 3)).mean((3, 5))
    torch.testing.assert_close(reader.read(large).features, means.flatten(1).double())
    check_channels("pixels", 4)
    with pytest.raises(InputError, match="1, 3 or 4 channels"):
        check_channels("clip", 2)
    with pytest.raises(InputError, match="'pixels' has no weights"):
        BackboneName.parse("pixels@x")
