"""Drawing as a stream: batches of samples by their indices, so that processes share them and memory holds one.

Sample i comes from the seed ``seed + i`` alone, or from its own in a row of them, whatever the batch it is drawn
in and whoever draws it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from unstir.diffusion import Condition
from unstir.errors import InputError
from unstir.models.codec import Codec, Identity
from unstir.models.config import CODEC, Labels, ModelConfig, check_scale, label_indices, prompt_list
from unstir.models.model import Model, check_shape
from unstir.models.samples import Samples
from unstir.networks.told import Told
from unstir.progress import counter
from unstir.sampling.draw import Course, Guide


@dataclass(frozen=True)
class Order:
    """What one batch is drawn from.

    Attributes:
        seeds: One for each sample.
        condition: What is told of them, on the model's device.
        settings: How to draw.
        course: How the walk is led.
        weaker: A model that guidance pushes away from, or None.
    """

    seeds: Sequence[int]
    condition: Condition | None
    settings: Any
    course: Course = Course()  # noqa: RUF009
    weaker: Drawing | None = None


class Classifies(Protocol):
    """A model with the verb ``guide``: a classifier of noised images."""

    config: ModelConfig

    def guide(self, label: Tensor, scale: float = 1.0) -> Guide: ...  # noqa: D102


class Drawing(Model):
    """A model with the verb ``draw``."""

    @abstractmethod
    def walk(self, order: Order) -> Iterator[Tensor]:
        """Yield the samples (B, ...) of one batch after each of its steps; the last is it."""

    def quick(self, evaluations: int) -> dict[str, object]:
        """Return the options with which ``draw`` asks the network about so often and makes the best of it."""
        return {}

    def check_noise(self, noise: Tensor) -> None:
        """Check that drawing can start from ``noise`` (B, ...): as of samples.

        Raises:
            InputError: If it is of another shape.
        """
        check_shape(self, noise)

    @property
    def codec(self) -> Codec:
        """What makes images of what is drawn: the part ``codec``, or the identity."""
        return self.parts.get(CODEC, Identity(self.config.samples.bounded))  # type: ignore[return-value]

    def draw(
        self,
        indices: Sequence[int],
        *,
        noise: Tensor | None = None,
        guide: Guide | None = None,
        **how: Any,
    ) -> Iterator[Samples]:
        """Draw the samples of these indices, a batch at a time.

        Args:
            indices: At least 0; process r of n takes ``indices[r::n]``.
            noise: The noise to start from, with a row for each index from 0 on; None draws it from the seeds.
            guide: A function from one ``Denoise`` to another, which steers the drawing; gradients may flow in it.
            **how: As of :meth:`led`.

        Yields:
            Up to ``batch`` samples, on the CPU.

        Raises:
            InputError: For a value out of range, a label the model does not know, or a model that cannot draw.
        """
        rows = 1 + max(indices, default=-1)
        if noise is not None:
            self.check_noise(noise)
            if len(noise) < rows:
                raise InputError(f"Noise was given for {len(noise)} images, and {rows} are to be drawn")

        def course(part: Sequence[int]) -> Course:
            if noise is None:
                return Course(guide=guide)
            own = noise[torch.tensor(part)].to(self.device)
            return Course(lambda *_: own, guide)

        return self.led(indices, course, **how)

    def led(
        self,
        indices: Sequence[int],
        course: Callable[[Sequence[int]], Course],
        *,
        label: Labels = None,
        prompt: str | Sequence[str] | None = None,
        told: Mapping[str, Tensor] | None = None,
        seed: int | Sequence[int] = 0,
        batch: int = 64,
        classifier: Classifies | None = None,
        scale: float | None = None,
        weaker: Drawing | None = None,
        progress: bool = False,
        **options: object,
    ) -> Iterator[Samples]:
        """Draw as :meth:`draw` does, each batch led in a way of its own.

        Args:
            indices: As of :meth:`draw`.
            course: From the indices of a batch to how its walk is led; all are of as many steps.
            label: One label for all, or a row of which sample i gets the i-th; None takes the classes in turn.
            prompt: What the model is told as its text: one for all, or several in turn; None hides it.
            told: What else the model is told, by name, with a row for each index from 0 on or one row for all.
                What is left out is hidden from it.
            seed: Sample i is drawn from seed + i; or a row of seeds, of which sample i gets the i-th.
            batch: How many are drawn together.
            classifier: A classifier of noised images, whose gradient steers towards the label; of a model without
                labels, the labels are its classes.
            scale: s of the classifier's guidance, 0 to 1000; None is 1.
            weaker: A weaker model of the same samples, told the same, that the option ``guidance`` pushes away
                from instead of from the prediction without what is told.
            progress: Whether to show a progress bar, if standard error is a terminal.
            **options: As :meth:`unstir.models.config.ModelConfig.drawing` takes them; the model's own are used for
                those left out.

        Yields:
            Up to ``batch`` samples, on the CPU.

        Raises:
            InputError: For a value out of range, a label the model does not know, or a model that cannot draw.
        """
        self.config.require("draw")
        check_scale(scale, classifier)
        settings = self.config.drawing(options, classifier and classifier.config, weaker and weaker.config)
        classes = (classifier or self).config.classes
        labels = label_indices(classes, label, indices)
        rows, values = 1 + max(indices, default=-1), dict(told or {})
        check_told(self.config.told, values, rows)
        prompts = prompt_list(self.config.texts, prompt)
        self.read({name: prompts[:1] for name in self.config.texts if prompts})  # or it cannot be
        given = {
            *values,
            *(["label"] if self.config.classes else []),
            *(self.config.texts if prompts else []),
        }
        self.config.hideable("Drawing without it", self.config.told.keys() - given)
        if options.get("guidance") and not given and weaker is None:
            raise InputError(
                "Guidance strengthens what the model is told, and here it is told nothing: leave it out"
            )
        if isinstance(seed, Sequence) and len(seed) < rows:
            raise InputError(f"{len(seed)} seeds were given for {rows} images: give one, or one for each")
        if batch < 1:
            raise InputError(f"At least 1 image is drawn at a time, not {batch}")
        batches = [indices[first : first + batch] for first in range(0, len(indices), batch)]
        drawn_as = None if labels is None else dict(zip(indices, labels))

        def ordered(part: Sequence[int]) -> tuple[Order, Tensor | None, list[str]]:
            rows = torch.tensor(part)
            condition = {name: value[rows if len(value) > 1 else rows * 0] for name, value in values.items()}
            own = None if drawn_as is None else torch.tensor([drawn_as[i] for i in part])
            if own is not None and self.config.classes:
                condition["label"] = own
            said = [prompts[i % len(prompts)] for i in part] if prompts else []
            condition |= self.read({name: said for name in self.config.texts if said})
            led = course(part)
            if classifier is not None and own is not None:
                led = led.guided(classifier.guide(own, 1.0 if scale is None else scale))
            seeds = [seed[i] if isinstance(seed, Sequence) else seed + i for i in part]
            told = Condition.of(condition).to(self.device) if condition else None
            return Order(seeds, told, settings, led, weaker), own, said

        def stream() -> Iterator[Samples]:
            model = self.lowered()
            total = len(batches) * course(batches[0]).steps(settings.steps) if batches else 0
            with counter(total, "drawing", progress) as advance:
                for part in batches:
                    order, own, said = ordered(part)
                    with torch.no_grad(), model.in_precision:
                        for x in model.walk(order):
                            last = x
                            advance()
                        x = model.codec.decode(last, order.seeds).cpu()
                    yield Samples(x, own, classes, part, said)

        return stream()

    def sample(self, n: int = 64, *, noise: Tensor | None = None, **how: Any) -> Samples:
        """Draw ``n`` samples, or with ``noise`` as many as that has, and return them together.

        The arguments are those of :meth:`draw`.
        """
        count = n if noise is None else len(noise)
        if count < 1:
            raise InputError(f"The number of images must be at least 1, not {count}")
        label = how.get("label")
        if label is not None and not isinstance(label, (int, str)) and len(label) != count:
            raise InputError(f"{len(label)} labels were given for {count} images: give one, or one for each")
        return Samples.joined(self.draw(range(count), noise=noise, **how))


def check_told(known: Mapping[str, Told], told: Mapping[str, Tensor], rows: int) -> None:
    """Check that a model can be told these values by these names.

    Args:
        known: What it is told.
        told: What it is to be told.
        rows: The least number of rows, where there is not one for all.

    Raises:
        InputError: For a name that it is not told, or the label, which has an argument of its own; or for values
            of another shape than it takes, or classes that there are not.
    """
    for name, value in told.items():
        if name not in known or name == "label":
            names = ", ".join(other for other in known if other != "label") or "nothing"
            raise InputError(f"This model is told no '{name}' (beside its label it is told {names})")
        one = known[name]
        given = tuple(value.shape) if isinstance(value, Tensor) else ()
        fits = any(_fits(given, ("N", *shape)) for shape in one.shapes)
        if not fits or (given[0] != 1 and given[0] < max(rows, 1)):
            shapes = " or ".join(f"({', '.join(('N', *map(str, shape)))})" for shape in one.shapes)
            what = f"a tensor of {given}" if isinstance(value, Tensor) else type(value).__name__
            raise InputError(
                f"This model is told '{name}' as a tensor of {shapes}, N being 1 or at least {rows}, not {what}"
            )
        if one.kind == "classes" and (
            value.is_floating_point() or value.min() < 0 or value.max() >= len(one.classes)
        ):
            known_classes = ", ".join(f"{i} {kind}" for i, kind in enumerate(one.classes[:10]))
            raise InputError(f"This model is told '{name}' by numbers of classes ({known_classes})")


def _fits(shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> bool:
    """Whether a shape is as wanted, where letters stand for any length."""
    return len(shape) == len(wanted) and all(a == b or isinstance(b, str) for a, b in zip(shape, wanted))
