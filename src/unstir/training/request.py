"""Checking what a user asks of a model, before torch is imported and the model loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from unstir.errors import InputError, nearest
from unstir.training.config import SAMPLER_OPTIONS, Config, SamplingConfig, ScheduleConfig

Labels = int | str | Sequence[int | str] | None
"""One label for all images or one for each, by name or by index; None takes the classes in turn."""


def sampling_config(config: Config, options: Mapping[str, object]) -> SamplingConfig:
    """Return the run's sampling values with ``options`` put in their place; those that are None are left out.

    Raises:
        InputError: For an unknown option, one that the sampler does not take, or a value out of range; for
            guidance of a model that was not trained for it.
    """
    asked = {key: value for key, value in options.items() if value is not None}
    known = list(SamplingConfig.model_fields)
    for key in asked:
        if key not in known:
            raise InputError(f"Sampling takes no '{key}'{nearest(key, known)}")
    try:
        result = SamplingConfig.model_validate({**config.sampling.model_dump(), **asked})
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"][0].lower() + first["msg"][1:]
        if not first["loc"]:
            raise InputError(f"Sampling cannot be so: {message.removeprefix('value error, ')}") from None
        raise InputError(f"The {first['loc'][0]} of sampling cannot be {first['input']!r}: {message}") from None
    for key in asked:
        owners = [sampler for sampler, options in SAMPLER_OPTIONS.items() if key in options]
        if owners and result.sampler not in owners:
            raise InputError(
                f"The {key} of sampling belongs to the sampler {' or '.join(owners)}, and this run would be "
                f"sampled by {result.sampler}: ask for {owners[0]} too"
            )
    schedule = ScheduleConfig(name=result.schedule) if result.schedule else config.diffusion.schedule
    limit = schedule.discrete_steps
    if limit is not None and result.steps > limit:
        owner = f"{result.schedule} schedule" if result.schedule else "model's schedule"
        raise InputError(f"{result.steps} steps were asked for, and the {owner} has {limit}")
    if result.variance == "learned" and config.diffusion.variance == "fixed":
        raise InputError("The variance 'learned' needs a model trained with diffusion.variance=learned")
    if asked.get("guidance") and not config.classes:
        raise InputError("Guidance needs a model that was trained with labels, and this one was not")
    if result.guidance:
        check_unlabelled(config, "Guidance above 0")
    return result


def check_unlabelled(config: Config, what: str) -> None:
    """Check that a model has learned to do without a label, which ``what`` hides from it.

    Raises:
        InputError: If its labels were never hidden.
    """
    labelled = config.classes if config.images else config.conditional
    if labelled and config.training.label_dropout == 0:
        raise InputError(
            f"{what} needs training.label_dropout above 0, by which a model learns to do without the label"
        )


def check_draws(config: Config) -> None:
    """Check that a model can draw.

    Raises:
        InputError: If it is a denoising autoencoder.
    """
    if config.diffusion.one_level:
        raise InputError(
            "This model is a denoising autoencoder, trained at one level of noise: it cleans images and draws "
            "none; use unstir edit clean RUN IMAGE"
        )


def check_sigma(config: Config, sigma: float | None) -> None:
    """Check that a model is told how noisy its images are, or as a denoising autoencoder is not.

    Raises:
        InputError: If not.
    """
    diffusion = config.diffusion
    if diffusion.one_level and sigma is not None:
        raise InputError(
            f"This model is a denoising autoencoder and knows one corruption alone ({diffusion.corruption}): "
            "leave sigma out"
        )
    if not diffusion.one_level and (sigma is None or not sigma > 0):
        raise InputError("This model knows many levels of noise: say how noisy the image is, such as --sigma 25")


def check_takes(config: Config, shape: tuple[int, int, int]) -> None:
    """Check that a model can take images of ``shape`` (C, H, W), its own or, where it is convolutional, any size.

    Raises:
        InputError: If it cannot.
    """
    assert config.images is not None
    channels, height, width = config.images.shape
    if shape[0] != channels:
        raise InputError(f"The model's images have {channels} channels, and this one has {shape[0]}")
    if config.network.kind == "fully_connected" and shape[1:] != (height, width):
        raise InputError(
            f"The image is {shape[2]} pixels wide and {shape[1]} high, and this fully connected network takes "
            f"{width} by {height} alone"
        )


def label_indices(classes: Sequence[str], label: Labels, n: int) -> list[int] | None:
    """Return the class index of each of ``n`` images, or None for an unconditional model.

    Args:
        classes: The class names the model knows.
        label: One for all, or ``n`` of them: names (or indices written as text), or indices; None takes the
            classes in turn.
        n: How many images.

    Raises:
        InputError: For a label that is not one of the classes, or any label for an unconditional model.
    """
    if n < 1:
        raise InputError(f"The number of images must be at least 1, not {n}")
    if not classes:
        if label is not None:
            raise InputError("This model was trained without labels: leave the label out")
        return None
    if label is None:
        return [i % len(classes) for i in range(n)]
    if isinstance(label, (int, str)):
        return [_index(classes, label)] * n
    if len(label) != n:
        raise InputError(f"{len(label)} labels were given for {n} images: give one, or one for each")
    return [_index(classes, each) for each in label]


def _index(classes: Sequence[str], label: int | str) -> int:
    if isinstance(label, str):
        if label in classes:
            return list(classes).index(label)
        if not label.lstrip("-").isdigit():
            known = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
            raise InputError(f"No label is called '{label}'{nearest(label, list(classes))} (there are {known})")
        label = int(label)
    if not 0 <= label < len(classes):
        raise InputError(
            f"Label {label} is out of range: the model knows {len(classes)} classes, 0 to {len(classes) - 1}"
        )
    return label
