"""What a model that draws can do with an image without having been trained for it: fill in, vary, sharpen.

Each is a walk that is led otherwise (:class:`unstir.sampling.draw.Course`). Result i is drawn from ``seed + i``
alone, and from image i, or from the only one. Images larger than the model's are worked on in overlapping tiles
(:func:`unstir.sampling.tiles.tiled`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from unstir.diffusion import Denoise
from unstir.errors import InputError
from unstir.models.drawing import Drawing
from unstir.models.samples import Samples
from unstir.sampling import SeededNoise
from unstir.sampling.draw import Course, Guide, Route, noised, pure_noise
from unstir.sampling.inpainting import Replacement, jumps, paste
from unstir.sampling.posterior import Blur, Mask, Measurement, measured
from unstir.sampling.tiles import tiled

Method = Literal["repaint", "replacement", "posterior"]
"""How known pixels are held to: put in before each step with jumps back, put in without them, or by gradients."""

ROUNDING = 1 / 255
"""Half a step of 8 bits, on the scale of [-1, 1]: the most by which a picture's pixels have been rounded."""


class Editing(Drawing):
    """A model with the verbs ``inpaint``, ``vary`` and ``deblur``, beside ``draw``.

    Of their arguments, ``n`` is how many results there are, for one image; None for one of each image. ``how`` are
    those of :meth:`draw`, but for the noise and the guide.
    """

    def inpaint(
        self, images: Tensor, hidden: Tensor, n: int | None = None, *, method: Method = "posterior", **how: Any
    ) -> Samples:
        """Return the images with what is hidden filled in; known pixels are returned exactly.

        Where all is hidden, these are the samples of :meth:`draw`.

        Args:
            images: float32 (N, C, H, W) in [-1, 1].
            hidden: bool (H, W), True where pixels are to be filled in.
            n: As of the class.
            method: How known pixels are held to.
            **how: As of the class.

        Raises:
            InputError: For images or a mask of another shape, an unknown method, or as :meth:`draw`.
        """
        self.config.require("inpaint")
        if hidden.shape != images.shape[-2:] or hidden.dtype != torch.bool:
            raise InputError(
                f"What is hidden is told as bool {tuple(images.shape[-2:])}, as high and wide as the images, not "
                f"{hidden.dtype} {tuple(hidden.shape)}"
            )
        there, seed = hidden.to(self.device), how.get("seed", 0)
        steps = self._steps(how)
        route = inpainting_route(method, steps, bool(hidden.all()))
        if method != "posterior" and steps < 2 and not hidden.all():
            raise InputError(f"The method {method} needs at least 2 steps, and {steps} is asked for")

        def course(part: Sequence[int], known: Tensor) -> Course:
            if hidden.all():
                return Course()
            if method == "posterior":
                mask = Mask(there)
                return Course(guide=_given(mask(known), mask, ROUNDING))
            seeds = [seed[i] if isinstance(seed, Sequence) else seed + i for i in part]
            noise = SeededNoise(seeds, stream=1)
            return Course(constraint=lambda sampler: Replacement(sampler, known, there, noise), route=route)

        drawn = self._edited(images, n, course, how)
        return replace(drawn, tensor=paste(drawn.tensor, images, hidden))

    def vary(self, images: Tensor, strength: float, n: int | None = None, **how: Any) -> Samples:
        """Return images like these: the walk begins in them under noise (Meng et al. 2022, SDEdit).

        Args:
            images: float32 (N, C, H, W) in [-1, 1].
            strength: The share of the steps that are walked, the last ones, from 0, the images themselves, to 1,
                from pure noise as :meth:`draw`.
            n: As of the class.
            **how: As of the class.

        Raises:
            InputError: For a strength that is no share, images of another shape, or as :meth:`draw`.
        """
        self.config.require("inpaint")
        steps = self._steps(how)
        walked = walked_steps(strength, steps)

        def course(part: Sequence[int], known: Tensor) -> Course:
            return (
                Course() if strength == 1 else Course(noised(known), route=lambda levels: [*levels[-1 - walked :]])
            )

        if walked == 0:
            count = self._count(images, n)
            return Samples(images.expand(count, *images.shape[1:]).clone())
        return self._edited(images, n, course, how)

    def deblur(
        self, images: Tensor, sigma: float, n: int | None = None, *, noise: float = ROUNDING, **how: Any
    ) -> Samples:
        """Return sharp images whose blur these are.

        Args:
            images: Blurred, float32 (N, C, H, W) in [-1, 1].
            sigma: The standard deviation of their Gaussian blur, in pixels, above 0.
            n: As of the class.
            noise: The standard deviation of what was added after the blur, on the images' scale, above 0.
            **how: As of the class.

        Raises:
            InputError: For a blur or noise that is not above 0, images of another shape, or as :meth:`draw`.
        """
        self.config.require("inpaint")
        if not noise > 0:
            raise InputError(f"The noise of blurred images is above 0, at least their rounding, not {noise:g}")
        blur = Blur(*images.shape[-2:], sigma)
        return self._edited(images, n, lambda part, y: Course(guide=_given(y, blur, noise)), how)

    def _edited(
        self, images: Tensor, n: int | None, course: Callable[[Sequence[int], Tensor], Course], how: dict[str, Any]
    ) -> Samples:
        """Return what is drawn in courses that are made of a batch's indices and its images."""
        count = self._count(images, n)
        shape = self.config.samples.shape
        if how.get("classifier") and tuple(images.shape[1:]) != shape:
            raise InputError("A classifier guides images of the model's own size, and these are larger")

        def whole(part: Sequence[int]) -> Course:
            own = images[list(part)] if len(images) > 1 else images.expand(len(part), *images.shape[1:])
            own = own.to(self.device)
            result = course(part, own)
            guide = result.guide if tuple(images.shape[1:]) == shape else self._in_tiles(result.guide)
            return replace(result, start=result.start or pure_noise(own), guide=guide)

        return Samples.joined(self.led(range(count), whole, **how))

    def _steps(self, how: dict[str, Any]) -> int:
        """Return the steps of the grid that drawing with these arguments takes."""
        classifier, weaker = how.get("classifier"), how.get("weaker")
        others = classifier and classifier.config, weaker and weaker.config
        return self.config.drawing(_options(how), *others).steps

    def _in_tiles(self, guide: Guide | None) -> Guide:
        """Return the guide for images larger than the model's, of which it sees tiles that overlap by half."""
        _, height, width = self.config.samples.shape

        def guided(denoise: Denoise) -> Denoise:
            whole = tiled(denoise, (height, width), min(height, width) // 2)
            return whole if guide is None else guide(whole)

        return guided

    def _count(self, images: Tensor, n: int | None) -> int:
        """Return how many results there are.

        Raises:
            InputError: For images that the model cannot take, or another number than there are.
        """
        channels, height, width = self.config.samples.shape
        theirs = "x".join(map(str, images.shape[1:]))
        if images.dim() != 4 or images.shape[1] != channels or images.shape[2] < height or images.shape[3] < width:
            raise InputError(
                f"The model's images are {channels}x{height}x{width}, and these are {theirs}: as large ones are "
                "taken, or larger ones in tiles"
            )
        count = len(images) if n is None else n
        if count < 1 or (len(images) > 1 and count != len(images)):
            raise InputError(
                f"{count} results were asked for of {len(images)} images: give one image, or one for each"
            )
        return count


def inpainting_route(method: Method, steps: int, straight: bool = False) -> Route:
    """Return the route of a method over a grid of so many steps: RePaint's jumps are 1 / 25 of it, as the paper's.

    Args:
        method: How known pixels are held to.
        steps: Of the grid.
        straight: Whether nothing is known, so that no method has anything to do.

    Raises:
        InputError: For an unknown method.
    """
    if method not in (known := ("repaint", "replacement", "posterior")):
        raise InputError(f"No way to fill in is called '{method}' ({', '.join(known)})")
    if method != "repaint" or straight:
        return list
    return partial(jumps, length=max(1, round(steps / 25)))


def walked_steps(strength: float, steps: int) -> int:
    """Return how many of the last steps are walked: at least one unless ``strength`` is 0.

    Raises:
        InputError: If ``strength`` is not from 0 to 1.
    """
    if not 0 <= strength <= 1:
        raise InputError(f"The strength is from 0, the image itself, to 1, pure noise, not {strength:g}")
    return max(round(strength * steps), int(strength > 0))


def _given(y: Tensor, measurement: Measurement, noise: float) -> Guide:
    return lambda denoise: measured(denoise, y, measurement, noise)


def _options(how: dict[str, Any]) -> dict[str, Any]:
    """Return the options of drawing among the arguments of :meth:`Drawing.draw`."""
    own = ("label", "prompt", "told", "seed", "batch", "classifier", "scale", "weaker", "progress")
    return {key: value for key, value in how.items() if key not in own}
