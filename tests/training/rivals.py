"""A system of two turns, as small as one can be; the driver trains it as any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from unstir.models.config import ModelConfig, systems
from unstir.models.model import Batch, Examples, Model


class Rivals(Model):
    """Two linear maps that learn in turn, the second from what the first has just become."""

    turns = ("first", "second")

    def __init__(self, config: ModelConfig, parts: Mapping[str, Model]) -> None:
        super().__init__(config, parts)
        self.first, self.second = nn.Linear(64, 4, bias=False), nn.Linear(4, 64, bias=False)
        self.seen: list[tuple[str, dict[str, Tensor]]] = []
        self.observed = torch.zeros(())

    def prepare(self, examples: Examples, generator: torch.Generator) -> Batch:
        return Batch(x=examples[0].flatten(1), noise=torch.rand(len(examples[0]), 1, generator=generator))

    def learning(self, turn: str) -> list[nn.Parameter]:
        return [getattr(self, turn).weight]

    def losses(self, turn: str, batch: Batch, average: Model) -> dict[str, Tensor]:
        assert not average.training
        code = self.first(batch["x"] + batch["noise"])
        if turn == "first":
            return {"size": (code - 1).square().mean(1)}
        return {"error": (self.second(code) - batch["x"]).square().mean(1), "code": code.mean(1).detach()}

    def memory(self) -> dict[str, Tensor]:
        return {"observed": self.observed}

    def observe(self, turn: str, batch: Batch, losses: Mapping[str, Tensor]) -> None:
        assert [len(loss) for loss in losses.values()] == [len(batch["x"])] * len(losses)
        self.seen.append((turn, dict(losses)))
        self.observed += 1


@systems.add
class RivalsConfig(ModelConfig):
    kind: Literal["rivals"] = "rivals"

    def build(self, parts: Mapping[str, Model]) -> Model:
        return Rivals(self, parts)
