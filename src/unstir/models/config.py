"""What a model file says of its model: all that is needed to build it and to ask it for what it can do. No torch.

It names no data set, no budget and no optimizer: those are a run's (:mod:`unstir.training.config`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, TypeVar

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, field_validator

from unstir.config import Kinds, Part, misfit
from unstir.errors import InputError, nearest
from unstir.networks.told import AUGMENTATION, FACTS, Told

if TYPE_CHECKING:
    from unstir.models.model import Model

Precision = Literal["auto", "float32", "bf16", "fp16"]
Label = int | str
Labels = Label | Sequence[Label] | None
"""One label for all, or one for each index from 0 on, by name or by number; None takes the classes in turn."""

Facts = Mapping[str, Mapping[str, object]]
"""What the data says of each of its columns: ``kind``, and the values of Told that it knows."""

CODEC = "codec"
"""The part of a denoiser of codes that makes images of them."""

VERBS = {
    "draw": ("draw images", "unstir sample RUN"),
    "edit": ("restore degraded pictures", "unstir edit colorize RUN IMAGE"),
    "invert": ("find the noise of an image", "run.invert(images) in Python"),
    "clean": ("clean images", "unstir edit clean RUN IMAGE"),
    "inpaint": ("fill in, vary and deblur images", "unstir edit inpaint RUN IMAGE --mask MASK"),
    "predict": ("predict clean images at every level of noise", "unstir show levels RUN"),
    "classify": ("classify images", "run.classify(images) in Python"),
    "embed": ("embed images", "run.embed(images) in Python"),
    "read": ("read scenes", "run.read(images) in Python"),
    "guide": ("guide a model's drawing", "unstir sample MODEL --classifier RUN"),
    "encode": ("encode images", "run.encode(images) in Python"),
    "decode": ("decode codes", "run.decode(codes) in Python"),
    "morph": ("vary, blend and steer what images mean", "unstir edit interpolate RUN IMAGE OTHER"),
}
"""What a model can be asked for: as a sentence says it, and how a user asks."""


class SampleInfo(Part):
    """The samples of a model: images, or whatever else it draws or reads.

    Attributes:
        shape: Of one sample, such as (C, H, W); () before the data has been seen.
        bounded: Whether its values lie in [-1, 1].
    """

    shape: tuple[Annotated[int, Field(gt=0)], ...] = ()
    bounded: bool = True


class FrozenPart(Part):
    """Another model that this one uses as it is.

    Attributes:
        path: Of its run folder or file: from the folder of the file that names it, or in full.
        hash: Of its weights; "" before the run has started.
        model: Its configuration; None before the run has started.
    """

    path: str
    hash: str = ""
    model: AnyModel | None = None


class Settings(Protocol):
    """How samples are drawn.

    Attributes:
        steps: Of the progress bar.
        evaluations: How often the network is asked for each sample.
    """

    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def evaluations(self) -> int: ...  # noqa: D102
    def model_dump(self, **how: Any) -> dict[str, Any]: ...  # noqa: D102


Self = TypeVar("Self", bound="ModelConfig")


class ModelConfig(Part):
    """A model of one system. A kind of it, added to ``systems``, says what it is made of and builds it.

    Attributes:
        kind: The system.
        samples: What it draws or reads.
        told: What it is told of each sample, by name.
        parts: The frozen models it uses, by name.
        precision: In which number format it computes; ``auto``: the fastest that the machine has.
    """

    naming: ClassVar[str | None] = "kind"
    about: ClassVar[str] = "a model"
    """What it is, for messages; a property where it depends on the values."""
    verbs: ClassVar[tuple[str, ...]] = ()
    """What it can be asked for, out of ``VERBS``; a property where it depends on the values."""
    features: ClassVar[int] = 0
    """The width of what its verb ``embed`` returns; a property where it depends on the values."""

    kind: str
    samples: SampleInfo = SampleInfo()
    told: dict[str, Told] = Field({})
    parts: dict[str, FrozenPart] = Field({})
    precision: Precision = "auto"

    @field_validator("told")
    @classmethod
    def _named_without_dots(cls, told: dict[str, Told]) -> dict[str, Told]:
        for name in told:
            if not name or "." in name:
                raise ValueError(f"what is told cannot be called {name!r}: it needs a name without dots")
        return told

    @property
    def found_out(self) -> dict[str, Any]:
        """What the data and the parts turn out to be, as pydantic's ``exclude`` names it."""
        told = {name: {*FACTS} for name in self.told}
        return {"samples": {"shape"}, "told": told, "parts": {name: {"model"} for name in self.parts}}

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of the data that training looks at."""
        return tuple(dict.fromkeys(self.sources.values()))

    @property
    def sources(self) -> dict[str, str]:
        """The columns of the data by the names under which the model is told them."""
        return {name: one.column or name for name, one in self.told.items() if one.of is None}

    @property
    def texts(self) -> dict[str, Told]:
        """What of it is told as text."""
        return {name: one for name, one in self.told.items() if one.kind == "text"}

    @property
    def codes(self) -> tuple[int, int, int] | None:
        """The shape (c, h, w) of the codes of its samples, if it is a codec for a denoiser; else None."""
        return None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape (C, H, W) of the images that a user sees: of samples, or of what a codec makes of them."""
        codec = self.parts[CODEC].model if CODEC in self.parts else None
        return self.samples.shape if codec is None else codec.image_shape

    def build(self, parts: Mapping[str, Model]) -> Model:
        """Return the model with fresh weights, from torch's generator.

        Args:
            parts: Ready for their verbs. To count parameters none are given: while the model is made, it may ask
                their configurations alone (``parts`` of this one).
        """
        raise NotImplementedError

    def seeing(self: Self, shape: tuple[int, ...], facts: Facts) -> Self:
        """Return this configuration with what the data turned out to be.

        What the data does not have the model is not told.

        Args:
            shape: Of one sample.
            facts: Of each column of the data, as :class:`unstir.networks.told.Told` names them.

        Raises:
            InputError: If a column is of another kind than it should be told as.
        """
        told = {}
        known = {name: facts[column] for name, column in self.sources.items() if column in facts}
        for name, one in self.told.items():
            if one.of is not None:
                known[name] = {"kind": "embedding", "width": self._seer(one.of, shape).features}
            if name not in known and one.kind == "text":
                raise InputError(
                    f"The model is to be told {name}, and the data has no {self.sources[name]}: give images with "
                    "captions, or set told={} to leave them out"
                )
            if name not in known:
                continue
            if known[name]["kind"] != one.kind:
                kind = known[name]["kind"]
                instead = "" if "text" in (kind, one.kind) else f"told.{name}.kind to {kind}, or "
                raise InputError(
                    f"The model is to be told {name} as {one.kind}, and the data's {self.sources[name]} is "
                    f"{kind}: set {instead}told={{}} to leave it out"
                )
            try:
                told[name] = Told.model_validate({**one.model_dump(), **known[name]})
            except ValidationError as error:
                raise misfit(error, f"told.{name}") from None
        samples = self.samples.model_copy(update={"shape": tuple(shape)})
        return self.model_copy(update={"samples": samples, "told": told})

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the parts that it uses and cannot do without."""
        return tuple(dict.fromkeys(one.of for one in self.told.values() if one.of is not None))

    @property
    def takes(self) -> tuple[str, ...]:
        """The names of the parts that it uses if it is given them."""
        return self.needs

    def _seer(self, name: str, shape: tuple[int, ...], verb: str = "embed") -> ModelConfig:
        """Return the part that is asked for ``verb`` with images of this shape.

        Raises:
            InputError: If it cannot.
        """
        part = self.parts[name].model
        assert part is not None
        if verb not in part.verbs:
            raise InputError(
                f"The part '{name}' is to see images, and it is {part.about}, which cannot {verb} them"
            )
        if part.samples.shape != tuple(shape):
            ours, theirs = ("x".join(map(str, each)) for each in (shape, part.samples.shape))
            raise InputError(f"The part '{name}' is to see images of {ours}, and it takes those of {theirs}")
        return part

    def _codes_of(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Return the shape of the codes that the part ``codec`` makes of samples of this shape.

        Raises:
            InputError: If it cannot be a codec for them.
        """
        codec = self._seer(CODEC, shape, "encode")
        if codec.codes is None:
            raise InputError(f"The part '{CODEC}' is {codec.about}, whose codes nothing else can learn")
        return codec.codes

    def drawing(
        self,
        options: Mapping[str, object],
        classifier: ModelConfig | None = None,
        weaker: ModelConfig | None = None,
    ) -> Settings:
        """Return how to draw: as the model does by default, with ``options`` that are not None in their place.

        Args:
            options: By name.
            classifier: That of a model whose verb ``guide`` is to guide this one.
            weaker: That of a model that guidance is to push away from.

        Raises:
            InputError: For an option that it does not take, a value out of range, or a model that cannot guide it.
        """
        options = {**options, "classifier": classifier, "weaker model": weaker}
        given = [name for name, value in options.items() if value is not None]
        if given:
            raise InputError(f"This model is {self.about} and draws at once: it takes no {given[0]}")
        return AtOnce()

    def require(self, verb: str) -> None:
        """Check that the model can be asked for ``verb``.

        Raises:
            InputError: If it cannot, with what it can.
        """
        if verb not in self.verbs:
            can = " or ".join(f"{what} ({how})" for what, how in (VERBS[known] for known in self.verbs))
            raise InputError(f"This model is {self.about} and cannot {VERBS[verb][0]}: it can {can}")

    def asking(self, verb: str) -> ModelConfig:
        """Return who can be asked for ``verb``: this one, or its codec, or that one's.

        Raises:
            InputError: As :meth:`require`, if none of them can.
        """
        one: ModelConfig | None = self
        while one is not None and verb not in one.verbs:
            one = one.parts[CODEC].model if CODEC in one.parts else None
        if one is None:
            self.require(verb)
            raise AssertionError
        return one

    def check_guides(self, model: ModelConfig) -> None:
        """Check that this model's verb ``guide`` can guide the drawing of another.

        Raises:
            InputError: If it cannot.
        """
        self.require("guide")

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that it is told as ``label``; empty if it is told none."""
        return self.told["label"].classes if "label" in self.told else ()

    def hideable(self, what: str, names: Iterable[str] | None = None) -> None:
        """Check that the model has learned to do without some of what it is told, or all: ``what`` hides it.

        Raises:
            InputError: If a part was never hidden in training.
        """
        for name in self.told if names is None else names:
            if self.told[name].dropout == 0 and name != AUGMENTATION:
                raise InputError(
                    f"{what} needs told.{name}.dropout above 0, by which a model learns to do without the {name}"
                )


class AtOnce(Part):
    """Drawing in one go."""

    @property
    def steps(self) -> int:
        """One."""
        return 1

    @property
    def evaluations(self) -> int:
        """One."""
        return 1


systems: Kinds[ModelConfig] = Kinds("system")
"""The systems by name."""

AnyModel = Annotated[SerializeAsAny[ModelConfig], BeforeValidator(systems.read)]

FrozenPart.model_rebuild()


def check_scale(scale: float | None, classifier: object) -> None:
    """Check how much a classifier is to guide, None being 1.

    Raises:
        InputError: For a scale out of range, or without a classifier.
    """
    if scale is None:
        return
    if classifier is None:
        raise InputError(f"A scale of {scale:g} is how much a classifier guides, and none is given: give one")
    if not 0 <= scale <= 1000:
        raise InputError(f"The scale of a classifier's guidance lies from 0 to 1000, and this is {scale:g}")


def label_indices(classes: Sequence[str], label: Labels, indices: Sequence[int]) -> list[int] | None:
    """Return the class of each sample, or None for a model that is told no label.

    Args:
        classes: The class names the model knows.
        label: One for all, or a row of them of which sample i gets the i-th: names (or numbers written as text),
            or numbers; None takes the classes in turn.
        indices: Of the samples.

    Raises:
        InputError: For a label that is not one of the classes, too few of them, or any for a model without.
    """
    if not classes:
        if label is not None:
            raise InputError("This model was trained without labels: leave the label out")
        return None
    if label is None:
        return [i % len(classes) for i in indices]
    if isinstance(label, (int, str)):
        return [class_index(classes, label)] * len(indices)
    if len(label) <= max(indices, default=-1):
        raise InputError(
            f"{len(label)} labels were given for {max(indices) + 1} images: give one, or one for each"
        )
    return [class_index(classes, label[i]) for i in indices]


def prompt_list(texts: Mapping[str, Told], prompt: str | Sequence[str] | None) -> Sequence[str]:
    """Return the prompts that are asked for; none if none are.

    Raises:
        InputError: If there is an empty one, or the model is told no text.
    """
    if prompt is None:
        return ()
    if not texts:
        raise InputError("This model was trained without captions: leave the prompt out")
    prompts = (prompt,) if isinstance(prompt, str) else tuple(prompt)
    if not prompts or not all(isinstance(one, str) and one.strip() for one in prompts):
        raise InputError(
            "A prompt is a text, such as 'a red apple', and not empty: leave it out to draw without one"
        )
    return prompts


def class_index(classes: Sequence[str], label: Label, name: str = "label") -> int:
    """Return the number of a class.

    Args:
        classes: The class names the model knows.
        label: A name, or else a number written as text; or a number.
        name: What the classes are told as.

    Raises:
        InputError: For one that is none of the classes, with the nearest.
    """
    if isinstance(label, str):
        if label in classes:
            return list(classes).index(label)
        if not re.fullmatch("-?[0-9]{1,9}", label):
            known = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
            raise InputError(f"No {name} is called '{label}'{nearest(label, list(classes))} (there are {known})")
        label = int(label)
    if not 0 <= label < len(classes):
        raise InputError(
            f"{name[:1].upper()}{name[1:]} {label} is out of range: the model knows {len(classes)} classes, "
            f"0 to {len(classes) - 1}"
        )
    return label
