"""What a user asked of a recipe, and what all recipes do with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from unstir.errors import InputError
from unstir.networks.told import Told
from unstir.training.config import Begun, Config, TrainingConfig

SHARE = 0.55
"""Of the speed of convolutions by themselves, what whole training steps reach."""

LABEL = {"label": Told(kind="classes", dropout=0.1)}
"""What most recipes tell their model: the label, where the data has one, and of a tenth of the images not."""


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        data: A data set's name or a folder, or None for the recipe's own.
        images: The budget in images, or None.
        seconds: The budget in seconds, or None; if both are None the recipe's own holds.
        gflops: What training was taken to reach on this machine when the run was begun that is to go on, in
            GFLOP/s; None for a new one, which measures it.
        size: The side in pixels that images are brought to; None leaves it to the recipe.
    """

    data: str | None = None
    images: int | None = None
    seconds: float | None = None
    gflops: float | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if self.images is not None and self.seconds is not None:
            raise InputError("Give either --for or --images, not both")

    @property
    def budget(self) -> dict[str, float]:
        """The budget: ``seconds`` or ``images``; {} for the recipe's own."""
        asked = {"seconds": self.seconds, "images": self.images}
        return {name: value for name, value in asked.items() if value is not None}

    def share(self, part: float) -> Request:
        """Return the request of one stage of a plan, which has ``part`` of the budget."""
        return replace(
            self,
            images=None if self.images is None else max(1, round(part * self.images)),
            seconds=None if self.seconds is None else part * self.seconds,
        )

    def training(self, **own: Any) -> TrainingConfig:
        """Return a recipe's own training values, under the user's budget if there is one."""
        if self.images is not None or self.seconds is not None:
            own.update(images=self.images, seconds=self.seconds)
        return TrainingConfig(**own)

    def sized(self, enough: float, seconds: float | None = None) -> Sized:
        """Return whether the budget asks for a small network: it is in time, and bears less than ``enough`` GFLOP.

        Args:
            enough: What the large network wants.
            seconds: The recipe's own budget, where that is to be asked too; None leaves it to the large network.
        """
        seconds = None if self.images is not None else self.seconds or seconds
        if seconds is None:
            return Sized(False, "", Begun())
        speed = self.speed()
        small = seconds * speed.gflops < enough
        note = f"A {'small' if small else 'large'} network, as training is taken to reach {speed.words()}"
        return Sized(small, note, Begun(gflops=speed.gflops))

    def speed(self) -> Speed:
        """Return about what training reaches on this machine over whole steps."""
        if self.gflops is not None:
            return Speed(self.gflops, True)
        import torch

        if torch.cuda.is_available():
            return Speed(20_000.0 * torch.cuda.device_count(), True)
        from unstir.kernels.processor import top_speed
        from unstir.processes import gathered

        fastest, reliable = gathered(top_speed())[0]  # of several processes all choose by the first one's
        return Speed(SHARE * fastest, reliable)


class Sized(NamedTuple):
    """Whether a network is to be small, with what the run says of it and what it is begun with."""

    small: bool
    note: str
    begun: Begun


class Speed(NamedTuple):
    """What training reaches: GFLOP/s, and whether the machine was quiet when they were measured."""

    gflops: float
    reliable: bool

    def words(self) -> str:
        """Return it as a part of a sentence."""
        return f"{self.gflops:,.0f} GFLOP/s" + ("" if self.reliable else ", measured while the machine was busy")


def smoke(config: Config, own_data: bool) -> Config:
    """Return a tiny version that trains in seconds and touches every part of the run.

    Args:
        config: A recipe's configuration.
        own_data: Whether the user named the data; if not, the bundled digits stand in at the recipe's size.
    """
    tiny = config.tiny()
    # The digits have no captions.
    data = tiny.data if own_data or tiny.model.texts else tiny.data.model_copy(update={"source": "digits"})
    return tiny.model_copy(update={"data": data})
