"""The network for vectors, as a part of a configuration; torch comes in where it is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from unstir.config import Few, Width
from unstir.networks.config import NetworkConfig, networks

if TYPE_CHECKING:
    from torch import nn


@networks.add
class SkipMLPConfig(NetworkConfig):
    """The MLP with skips, :class:`unstir.networks.skip_mlp.SkipMLP`."""

    kind: Literal["mlp"] = "mlp"
    any_size: ClassVar[bool] = False
    width: Annotated[Width, Field(multiple_of=8)] = 512
    depth: Few = 6

    @property
    def vector(self) -> int:
        """Width of the time embedding."""
        return self.width

    def build(
        self, shape: tuple[int, int, int], outputs: int = 1, image: int = 0, tokens: bool = False
    ) -> nn.Module:
        """Return the network, which has no socket ``tokens``."""
        from unstir.networks.skip_mlp import SkipMLP

        assert not tokens
        return SkipMLP(shape, self.width, self.depth, outputs, image)

    def tiny(self) -> SkipMLPConfig:
        """Return a narrow one of two layers."""
        return self.model_copy(update={"width": 32, "depth": 2})
