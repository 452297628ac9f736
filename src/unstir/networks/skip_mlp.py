r"""The MLP with skips, for samples that are vectors and no pictures (Preechakul et al. 2022, appendix A).

The input x is joined to each layer's, so that a deep network loses nothing of it, and the embedding e of the time
scales and shifts what each layer has normalized:

.. math:: h_k = \mathrm{SiLU}\left((1 + s_k) \, \mathrm{LN}(W_k [h_{k-1}, x]) + b_k\right), \qquad
    (s_k, b_k) = A_k \, \mathrm{SiLU}(e),

with :math:`h_0` empty. The output is linear in :math:`[h_n, x]`, and starts at zero, as the A do.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.diffusion import Sockets
from unstir.networks.blocks import zeroed
from unstir.networks.embedding import Embedding


class SkipMLP(nn.Module):
    """Linear layers as deep as asked, each of which sees the input.

    Args:
        shape: (C, H, W) of the samples; of a vector of L numbers (L, 1, 1).
        width: Of each layer, and of the embedding.
        depth: How many layers there are before the output.
        outputs: How many samples' channels are returned.
        image: Channels that the socket ``image`` joins to the input.
    """

    def __init__(
        self, shape: tuple[int, int, int], width: int = 512, depth: int = 6, outputs: int = 1, image: int = 0
    ) -> None:
        super().__init__()
        numbers = math.prod(shape)
        joined = numbers + image * math.prod(shape[1:])
        self.embedding = Embedding(width)
        self.layers = nn.ModuleList(_Layer((width if number else 0) + joined, width) for number in range(depth))
        self.out = zeroed(nn.Linear(width + joined, outputs * numbers))

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets = Sockets()) -> Tensor:
        """Return (B, outputs * C, H, W) for samples ``x`` (B, C, H, W)."""
        embedding = functional.silu(self.embedding(t, sockets.vector))
        joined = sockets.with_image(x).flatten(1)
        h = joined[:, :0]
        for layer in self.layers:
            h = layer(torch.cat([h, joined.to(h)], dim=1), embedding)
        return self.out(torch.cat([h, joined.to(h)], dim=1)).reshape(len(x), -1, *x.shape[2:])


class _Layer(nn.Module):
    """A linear layer and layer norm, scaled and shifted by the embedding, then SiLU."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width_in, width)
        self.norm = nn.LayerNorm(width)
        self.modulation = zeroed(nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding).chunk(2, dim=1)
        return functional.silu((1 + scale) * self.norm(self.linear(x)) + shift)
