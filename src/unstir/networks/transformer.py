r"""A transformer over patches of the image (Peebles and Xie 2023; Dosovitskiy et al. 2021).

Each square of p x p pixels is a position, with a code for its row and its column. A block is attention, then a
perceptron, each a residual branch that is told the embedding c of the time and a vector ("adaLN-zero"):

.. math:: h \leftarrow h + g \odot F\bigl((1 + s) \odot \mathrm{LayerNorm}(h) + b\bigr), \qquad
          (s, b, g) = W \, \mathrm{SiLU}(c),

with W zero at the start, so that each block starts as the identity. Where it is told tokens, an attention from the
positions to the tokens stands between the two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.diffusion import Sockets
from unstir.kernels.attention import attention
from unstir.kernels.norm import norm
from unstir.networks.blocks import CrossAttention, zeroed
from unstir.networks.embedding import Embedding, sinusoids
from unstir.networks.resize import pad_to

EXPANSION = 4
"""How many times as wide as a position a perceptron is inside."""


class Transformer(nn.Module):
    """The transformer.

    Args:
        image_channels: C of the images.
        width: Of each position.
        depth: How many blocks there are.
        heads: Of attention; they divide the width.
        patch: p, pixels of a square's side.
        dropout: Probability of dropping an element of a branch's result.
        outputs: How many images' channels are returned.
        image: Channels that the socket ``image`` joins to the input.
        tokens: Width of the tokens it is told; 0 for a network without that socket.
    """

    def __init__(
        self,
        image_channels: int,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        patch: int = 2,
        dropout: float = 0.0,
        outputs: int = 1,
        image: int = 0,
        tokens: int = 0,
    ) -> None:
        super().__init__()
        self.patch, self.tokens = patch, tokens
        self.embedding = Embedding(width)
        self.stem = nn.Conv2d((image_channels + image) * patch**2, width, 1)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout, tokens) for _ in range(depth))
        self.modulation = zeroed(nn.Linear(width, 2 * width))
        self.out = zeroed(nn.Conv2d(width, outputs * image_channels * patch**2, 1))

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets = Sockets()) -> Tensor:
        """Return (B, outputs * C, H, W) for images ``x`` (B, C, H, W).

        Raises:
            ValueError: If it is told tokens and has no socket for them, or is told none and has one.
        """
        height, width = x.shape[-2:]
        tokens = sockets.tokens_of(self.tokens)
        embedding = functional.silu(self.embedding(t, sockets.vector))
        h = functional.pixel_unshuffle(pad_to(sockets.with_image(x), self.patch), self.patch)
        h = self.stem(h.contiguous(memory_format=torch.channels_last))
        h = h + places(h)
        for block in self.blocks:
            h = block(h, embedding, tokens)
        scale, shift = self.modulation(embedding).chunk(2, dim=1)
        h, _ = _told(h, scale, shift)
        return functional.pixel_shuffle(self.out(h), self.patch)[..., :height, :width]


class _Block(nn.Module):
    """Attention, attention to the tokens, perceptron."""

    def __init__(self, width: int, heads: int, dropout: float, tokens: int) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.modulation = zeroed(nn.Linear(width, 6 * width))
        self.qkv, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.cross = CrossAttention(width, tokens, width // heads, kind="layer") if tokens else None
        self.wide, self.narrow = nn.Linear(width, EXPANSION * width), nn.Linear(EXPANSION * width, width)

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor | None) -> Tensor:
        told = self.modulation(embedding).chunk(6, dim=1)
        h, x = _told(x, *told[:2])
        x = self.join(x, self.attend(_rows(h)), told[2])
        if self.cross is not None:
            x = self.cross(x, tokens)
        h, x = _told(x, *told[3:5])
        return self.join(x, self.narrow(functional.gelu(self.wide(_rows(h)), approximate="tanh")), told[5])

    def attend(self, rows: Tensor) -> Tensor:
        """Return (B, N, width) for ``rows`` of the same shape."""
        batch, count, width = rows.shape
        q, k, v = self.qkv(rows).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.mixed(attention(q, k, v).transpose(1, 2).reshape(batch, count, width))

    def join(self, x: Tensor, branch: Tensor, gate: Tensor) -> Tensor:
        """Add to ``x`` (B, C, H, W) the gated ``branch`` (B, H W, C)."""
        branch = functional.dropout(branch, self.dropout, self.training).mT.unflatten(2, x.shape[-2:])
        return torch.addcmul(x, gate[..., None, None].to(x.dtype), branch.to(x.dtype))


def _told(x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return the layer norm of ``x`` (B, C, H, W), scaled and shifted by (B, C), and ``x`` for the way around."""
    return norm(x, 1 + scale.float(), shift.float(), groups=0)


def _rows(x: Tensor) -> Tensor:
    """Return (B, H W, C) for ``x`` (B, C, H, W)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def places(x: Tensor) -> Tensor:
    """Return the codes of the positions of ``x`` (B, C, H, W), (C, H, W): half of the row, half of the column.

    Each is the sinusoids of its number (Vaswani et al. 2017), which no size of image is too large for.
    """
    channels, height, width = x.shape[1:]
    rows, columns = (torch.arange(count, device=x.device) for count in (height, width))
    row, column = (sinusoids(count, channels // 2, scale=1.0) for count in (rows, columns))
    both = row.T[:, :, None].expand(-1, -1, width), column.T[:, None].expand(-1, height, -1)
    return torch.cat(both).to(x.dtype)
