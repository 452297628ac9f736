"""From gradients to new weights: clipping, AdamW, the average. On a CPU by our kernels, elsewhere by PyTorch."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from unstir.kernels.adamw import adamw
from unstir.training.average import average_weight, update_average
from unstir.training.config import TrainingConfig


class KernelUpdate:
    """Updates float32 weights from the gradients of ``working``: the model itself, or its copy in low precision.

    Attributes:
        state: For each parameter of the model ``step``, ``exp_avg`` and ``exp_avg_sq``, as ``torch.optim.AdamW``
            has them.
    """

    def __init__(self, model: nn.Module, working: nn.Module, average: nn.Module, config: TrainingConfig) -> None:
        self.model, self.working, self.average, self.config = model, working, average, config
        self.state: dict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    def __call__(self, learning_rate: float, step: int) -> Tensor:
        """Make step ``step`` (the first is 1) and drop the gradients; return their norm before clipping."""
        for averaged, buffer in zip(self.average.buffers(), self.model.buffers(), strict=True):
            averaged.copy_(buffer)
        rows = [
            (parameter, _aligned(working.grad, parameter), averaged, None if working is parameter else working)
            for parameter, working, averaged in zip(
                self.model.parameters(), self.working.parameters(), self.average.parameters(), strict=True
            )
            if working.grad is not None
        ]
        for parameter, *_ in rows:
            state = self.state[parameter]
            if not state:
                state["exp_avg"], state["exp_avg_sq"] = (
                    torch.zeros_like(parameter, requires_grad=False) for _ in range(2)
                )
            state["step"] = torch.tensor(float(step))
        parameters, gradients, averages, copies = zip(*rows, strict=True)
        norm = adamw(
            parameters,
            gradients,
            tuple([self.state[p][key] for p in parameters] for key in ("exp_avg", "exp_avg_sq")),  # type: ignore[arg-type]
            averages,
            copies,
            step=step,
            rate=learning_rate,
            decay=self.config.weight_decay,
            clip=self.config.clip,
            average=average_weight(step, self.config.ema),
        )
        self.working.zero_grad()
        return norm

    @torch.no_grad()
    def refresh(self) -> None:
        """Bring the copy in line with weights that were changed from outside."""
        for working, parameter in zip(self.working.parameters(), self.model.parameters(), strict=True):
            if working is not parameter:
                working.copy_(parameter)


def _aligned(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Return the gradient with the strides of its parameter."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter, dtype=gradient.dtype, requires_grad=False).copy_(gradient)


class TorchUpdate:
    """Updates the weights by ``torch.optim.AdamW``, on any device and any number of processes."""

    def __init__(
        self, model: nn.Module, average: nn.Module, config: TrainingConfig, accelerator: Accelerator
    ) -> None:
        self.model, self.average, self.config, self.accelerator = model, average, config, accelerator
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=accelerator.device.type in ("cpu", "cuda"),
        )
        self.optimizer: Any = accelerator.prepare(optimizer)

    @property
    def state(self) -> dict[Tensor, dict[str, Tensor]]:
        """For each parameter ``step``, ``exp_avg`` and ``exp_avg_sq``."""
        return self.optimizer.state  # type: ignore[no-any-return]

    def __call__(self, learning_rate: float, step: int) -> Tensor:
        """Make step ``step`` (the first is 1) and drop the gradients; return their norm before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        norm: Tensor = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        update_average(self.average, self.model, step, self.config.ema)
        return norm.detach()

    def refresh(self) -> None:
        """Do nothing: there is no copy to bring in line."""
