"""The budget: how much of it is spent, what the learning rate is then, and when to stop."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from unstir.training.config import TrainingConfig


@dataclass
class Budget:
    """Training's budget, in images or in seconds.

    Attributes:
        config: Holds ``images`` or ``seconds``.
        carried: Seconds spent before this process started, from the checkpoint.
        began: The clock (``time.monotonic``) when this process started.
        reserve: Seconds kept for what follows the last step: the last checkpoint, the last pictures.
    """

    config: TrainingConfig
    began: float
    carried: float = 0.0
    reserve: float = field(init=False)

    def __post_init__(self) -> None:
        self.reserve = 0.03 * (self.config.seconds or 0.0)

    @property
    def elapsed(self) -> float:
        """Seconds spent on this run by this process and those before it."""
        return self.carried + time.monotonic() - self.began

    def progress(self, images: int) -> float:
        """Return the spent part of the budget, 0 to 1, after training on ``images`` images."""
        if self.config.seconds is not None:
            return min(1.0, self.elapsed / max(1e-6, self.config.seconds - self.reserve))
        assert self.config.images is not None
        return min(1.0, images / self.config.images)

    def learning_rate(self, step: int, progress: float) -> float:
        """Return the learning rate of step ``step`` (the first is 1): it rises, stays, and falls to 0.

        The rise ends after ``warmup`` steps, or a twentieth of the budget if that is sooner.
        """
        rise = max(step / self.config.warmup if self.config.warmup else 1.0, progress / 0.05)
        fall = (1 - progress) / self.config.decay if self.config.decay else 1.0
        return self.config.learning_rate * min(1.0, rise, fall)
