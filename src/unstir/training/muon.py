r"""Muon (Jordan et al. 2024): gradient descent whose every step turns all directions of a layer alike.

.. math:: m \leftarrow \mu m + (1 - \mu) g, \qquad
          W \leftarrow W - 0.2 \, \eta \sqrt{\max(r, c)} \; U V^T, \qquad
          U \Sigma V^T = (1 - \mu) g + \mu m

for a kernel that is read as a matrix of r outputs by c inputs. The scale is that of Liu et al. 2025, under which a
step is about as long as one of AdamW, so that both take one learning rate. Of the orthogonal factor no more is
wanted than that its singular values lie near one, which five Newton-Schulz steps in low precision bring about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unstir.models.precision import resolve_precision

MOMENTUM = 0.95
LEAST_CHANNELS = 16
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def suits_muon(parameter: nn.Parameter) -> bool:
    """Whether it is the kernel of a convolution with many channels in and out, as those on images have not."""
    return parameter.dim() == 4 and min(parameter.shape[:2]) >= LEAST_CHANNELS


@torch.no_grad()
def muon(
    parameters: Sequence[Tensor], gradients: Sequence[Tensor], momenta: Sequence[Tensor], rate: float
) -> None:
    """Update parameters and momenta in place.

    Args:
        parameters: Kernels, float32 (O, I, H, W).
        gradients: Of the same shapes; in any precision.
        momenta: m, float32.
        rate: The learning rate.
    """
    by_shape: dict[torch.Size, list[int]] = defaultdict(list)
    for index, (gradient, momentum) in enumerate(zip(gradients, momenta, strict=True)):
        momentum.lerp_(gradient.to(momentum.dtype), 1 - MOMENTUM)
        by_shape[gradient.shape].append(index)
    for (outputs, inputs, height, width), indices in by_shape.items():
        exact = resolve_precision("auto", parameters[indices[0]].device) == "float32"
        kind = torch.float32 if exact else torch.bfloat16
        directions = torch.stack(
            [
                torch.lerp(gradients[i].to(kind), momenta[i].to(kind), MOMENTUM).permute(0, 2, 3, 1).flatten(1)
                for i in indices
            ]
        )
        scale = 0.2 * rate * max(directions.shape[1:]) ** 0.5
        for i, turned in zip(indices, orthogonal(directions), strict=True):
            step = turned.view(outputs, height, width, inputs).permute(0, 3, 1, 2)
            parameters[i].add_(step, alpha=-scale)


class AdamWAndMuon(torch.optim.AdamW):
    """Muon for the parameters that suit it, AdamW for the others.

    Args:
        parameters: Of the whole model.
        **options: AdamW's.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], **options: Any) -> None:
        groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
        for parameter in parameters:
            groups[suits_muon(parameter)].append(parameter)
        super().__init__([{"params": group, "muon": key} for key, group in groups.items()], **options)

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have gradients."""
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group["muon"]]
            super().step()
        finally:
            self.param_groups = groups
        for group in groups:
            kernels = [p for p in group["params"] if group["muon"] and p.grad is not None]
            for kernel in kernels:
                state = self.state[kernel]
                state["step"] = state.get("step", torch.zeros(())) + 1  # which AdamW looks for when it is loaded
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(kernel)
            muon(kernels, [p.grad for p in kernels], [self.state[p]["momentum"] for p in kernels], group["lr"])


def orthogonal(matrices: Tensor) -> Tensor:
    """Return (n, r, c), of the type of ``matrices``, with their singular vectors and values of 0.7 to 1.2.

    Those that are tiny beside the matrix's norm come out smaller.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonal(matrices.mT).mT
    a, b, c = _COEFFICIENTS
    x = matrices / (matrices.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(5):
        square = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x
