"""From gradients to new weights: clipping, the optimizer, the average."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from unstir.kernels.adamw import adamw, gradient_norm
from unstir.training.average import average_weight, update_average
from unstir.training.config import TrainingConfig
from unstir.training.muon import AdamWAndMuon, muon, suits_muon


class Update(Protocol):
    """Changes the weights and their average by the gradients.

    Attributes:
        state: For each parameter of the model ``step``, and ``momentum`` if it has Muon, else ``exp_avg`` and
            ``exp_avg_sq``, as ``torch.optim.AdamW`` has them.
    """

    @property
    def state(self) -> dict[Tensor, dict[str, Tensor]]: ...  # noqa: D102

    def __call__(self, learning_rate: float, step: int) -> Tensor:
        """Make step ``step`` (the first is 1) and drop the gradients; return their norm before clipping."""

    def refresh(self) -> None:
        """Take note that the weights were changed from outside."""


class KernelUpdate(Update):
    """For a CPU and one process: all of AdamW, the average and a low-precision copy in one pass.

    Args:
        model: Whose weights, float32, are updated.
        working: Which has the gradients: the model, or its copy in low precision.
        average: The model's average.
        config: The optimizer's values.
    """

    def __init__(self, model: nn.Module, working: nn.Module, average: nn.Module, config: TrainingConfig) -> None:
        self.model, self.working, self.average, self.config = model, working, average, config
        self._state: dict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    @property
    def state(self) -> dict[Tensor, dict[str, Tensor]]:
        """What the optimizer remembers."""
        return self._state

    @torch.no_grad()
    def __call__(self, learning_rate: float, step: int) -> Tensor:
        """Make step ``step`` (the first is 1) and drop the gradients; return their norm before clipping."""
        for averaged, buffer in zip(self.average.buffers(), self.model.buffers(), strict=True):
            averaged.copy_(buffer)
        rows = list(
            zip(self.model.parameters(), self.working.parameters(), self.average.parameters(), strict=True)
        )
        gradients = [_aligned(working.grad, parameter) for parameter, working, _ in rows]
        kernels: list[tuple[Tensor, Tensor, Tensor]] = []
        moments: list[tuple[Tensor | None, Tensor | None]] = []
        for (parameter, working, _), gradient in zip(rows, gradients, strict=True):
            if working.grad is None:
                moments.append((None, None))
            elif self.config.optimizer == "muon" and suits_muon(parameter):
                moments.append((None, None))
                kernels.append((parameter, gradient, self._memory(parameter, "momentum")))
            else:
                moments.append((self._memory(parameter, "exp_avg"), self._memory(parameter, "exp_avg_sq")))
            if working.grad is not None:
                self.state[parameter]["step"] = torch.tensor(float(step))
        norm = gradient_norm(gradients)
        scale = min(1.0, self.config.clip / (norm + 1e-6))
        if kernels:
            clipped = [(parameter, scale * gradient.float(), memory) for parameter, gradient, memory in kernels]
            muon(*zip(*clipped, strict=True), learning_rate)
        adamw(
            [parameter for parameter, _, _ in rows],
            gradients,
            moments,
            [averaged for _, _, averaged in rows],
            [None if working is parameter else working for parameter, working, _ in rows],
            step=step,
            rate=learning_rate,
            decay=self.config.weight_decay,
            scale=scale,
            average=average_weight(step, self.config.ema),
        )
        self.working.zero_grad()
        return torch.tensor(norm, dtype=torch.float32)

    def _memory(self, parameter: Tensor, key: str) -> Tensor:
        state = self.state[parameter]
        if key not in state:
            state[key] = torch.zeros_like(parameter, requires_grad=False)
        return state[key]

    @torch.no_grad()
    def refresh(self) -> None:
        """Bring the copy in line with weights that were changed from outside."""
        for working, parameter in zip(self.working.parameters(), self.model.parameters(), strict=True):
            if working is not parameter:
                working.copy_(parameter)


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
        model: Whose weights are updated.
        average: The model's average.
        config: The optimizer's values.
        accelerator: Which has prepared the model.
    """

    def __init__(
        self, model: nn.Module, average: nn.Module, config: TrainingConfig, accelerator: Accelerator
    ) -> None:
        self.model, self.average, self.config, self.accelerator = model, average, config, accelerator
        options: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
        if config.optimizer == "muon":
            optimizer: torch.optim.Optimizer = AdamWAndMuon(model.parameters(), **options)
        else:
            fused = accelerator.device.type in ("cpu", "cuda")
            optimizer = torch.optim.AdamW(model.parameters(), fused=fused, **options)
        self.optimizer: Any = accelerator.prepare(optimizer)

    @property
    def state(self) -> dict[Tensor, dict[str, Tensor]]:
        """What the optimizer remembers."""
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
