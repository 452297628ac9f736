"""From gradients to new weights: clipping, the optimizer, the average; one update for each turn of a step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from unstir.kernels.adamw import adamw, gradient_norm
from unstir.training.average import average_weight, update_average
from unstir.training.config import TrainingConfig
from unstir.training.muon import AdamWAndMuon, muon, suits_muon


class Row(NamedTuple):
    """A parameter that an update changes.

    Attributes:
        parameter: Its weights, float32.
        working: What has the gradient: the parameter, or its copy in low precision.
        average: Its average.
    """

    parameter: nn.Parameter
    working: nn.Parameter
    average: Tensor


class Update(Protocol):
    """Changes some of the weights and their average by the gradients.

    Attributes:
        state: For each parameter ``step``, and ``momentum`` if it has Muon, else ``exp_avg`` and ``exp_avg_sq``,
            as ``torch.optim.AdamW`` has them.
    """

    @property
    def state(self) -> dict[Tensor, dict[str, Tensor]]: ...  # noqa: D102

    def __call__(self, learning_rate: float, step: int) -> Tensor:
        """Make step ``step`` (the first is 1); return the gradients' norm before clipping."""


class KernelUpdate(Update):
    """For a CPU and one process: all of AdamW, the average and a low-precision copy in one pass.

    Args:
        rows: What is changed.
        config: The optimizer's values.
    """

    def __init__(self, rows: Sequence[Row], config: TrainingConfig) -> None:
        self.rows, self.config = rows, config
        self._state: dict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    @property
    def state(self) -> dict[Tensor, dict[str, Tensor]]:
        """What the optimizer remembers."""
        return self._state

    @torch.no_grad()
    def __call__(self, learning_rate: float, step: int) -> Tensor:
        """Make step ``step`` (the first is 1); return the gradients' norm before clipping."""
        gradients = [_aligned(working.grad, parameter) for parameter, working, _ in self.rows]
        taken: dict[int, list[int]] = {}  # places of rows, by how many gradients they have had
        kernels: list[tuple[Tensor, Tensor, Tensor]] = []
        moments: list[tuple[Tensor | None, Tensor | None]] = []
        for place, ((parameter, working, _), gradient) in enumerate(zip(self.rows, gradients, strict=True)):
            own = int(self.state[parameter].get("step", 0)) + (working.grad is not None)
            taken.setdefault(max(own, 1), []).append(place)
            if working.grad is None:
                moments.append((None, None))
            elif self.config.optimizer == "muon" and suits_muon(parameter):
                moments.append((None, None))
                kernels.append((parameter, gradient, self._memory(parameter, "momentum")))
            else:
                moments.append((self._memory(parameter, "exp_avg"), self._memory(parameter, "exp_avg_sq")))
            if working.grad is not None:
                self.state[parameter]["step"] = torch.tensor(float(own))
        norm = gradient_norm(gradients)
        scale = min(1.0, self.config.clip / (norm + 1e-6))
        if kernels:
            clipped = [(parameter, scale * gradient.float(), memory) for parameter, gradient, memory in kernels]
            muon(*zip(*clipped, strict=True), learning_rate)
        for own, places in taken.items():
            rows = [self.rows[place] for place in places]
            adamw(
                [parameter for parameter, _, _ in rows],
                [gradients[place] for place in places],
                [moments[place] for place in places],
                [averaged for _, _, averaged in rows],
                [None if working is parameter else working for parameter, working, _ in rows],
                step=own,
                rate=learning_rate,
                betas=self.config.betas,
                decay=self.config.weight_decay,
                scale=scale,
                average=average_weight(step, self.config.ema),
            )
        return torch.tensor(norm, dtype=torch.float32)

    def _memory(self, parameter: Tensor, key: str) -> Tensor:
        state = self.state[parameter]
        if key not in state:
            state[key] = torch.zeros_like(parameter, requires_grad=False)
        return state[key]


def _aligned(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    """Return the gradient with the strides of its parameter; zeros if there is none."""
    if gradient is None:
        return torch.zeros_like(parameter)
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter, dtype=gradient.dtype).copy_(gradient)


class TorchUpdate(Update):
    """For any device and number of processes, by PyTorch's optimizers.

    Args:
        rows: What is changed.
        config: The optimizer's values.
        accelerator: Which has prepared the model.
    """

    def __init__(self, rows: Sequence[Row], config: TrainingConfig, accelerator: Accelerator) -> None:
        self.parameters = [row.parameter for row in rows]
        self.averages = [row.average for row in rows]
        self.config, self.accelerator = config, accelerator
        options: dict[str, Any] = {
            "lr": config.learning_rate,
            "weight_decay": config.weight_decay,
            "betas": config.betas,
        }
        if config.optimizer == "muon":
            optimizer: torch.optim.Optimizer = AdamWAndMuon(self.parameters, **options)
        else:
            fused = accelerator.device.type in ("cpu", "cuda")
            optimizer = torch.optim.AdamW(self.parameters, fused=fused, **options)
        self.optimizer: Any = accelerator.prepare(optimizer)

    @property
    def state(self) -> dict[Tensor, dict[str, Tensor]]:
        """What the optimizer remembers."""
        return self.optimizer.state  # type: ignore[no-any-return]

    def __call__(self, learning_rate: float, step: int) -> Tensor:
        """Make step ``step`` (the first is 1); return the gradients' norm before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        norm: Tensor = self.accelerator.clip_grad_norm_(self.parameters, self.config.clip)
        self.optimizer.step()
        update_average(self.averages, self.parameters, step, self.config.ema)
        return norm.detach()
