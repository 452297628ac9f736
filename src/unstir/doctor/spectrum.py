"""The power of images by how fine their detail is, in octaves."""

from __future__ import annotations

import torch
from torch import Tensor

OCTAVES = 5


def spectrum(images: Tensor) -> Tensor:
    """Return the mean power of images (N, C, H, W) in octaves of frequency, float64, coarse to fine.

    The finest is from half of the highest frequency along a side upwards, the coarsest what is left; of small
    images there are fewer.
    """
    x = images.double()
    power = torch.fft.fft2(x - x.mean((2, 3), keepdim=True), norm="ortho").abs().pow(2).mean((0, 1))
    octave = octaves(*power.shape)
    return torch.stack([power[octave == number].mean() for number in range(int(octave.max()) + 1)])


def octaves(height: int, width: int) -> Tensor:
    """Return to which octave each frequency of an image belongs, int64 (H, W), 0 the coarsest; -1 of its mean."""
    rows, columns = torch.fft.fftfreq(height).double(), torch.fft.fftfreq(width).double()
    frequency = (rows[:, None].pow(2) + columns.pow(2)).sqrt()
    # 0.5 is the highest along a side: (0.25, ...) is octave 0 from above, (0.125, 0.25] octave 1, ...
    above = (-torch.log2(frequency.clamp(min=1e-9) / 0.5)).ceil().clamp(min=1).long() - 1
    above = above.clamp(max=OCTAVES - 1)
    coarsest = int(above[frequency > 0].max())
    found = coarsest - above
    found[0, 0] = -1
    return found
