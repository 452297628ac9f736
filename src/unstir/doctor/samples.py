"""What is drawn beside what was learned from: brightness, contrast, colours, fine detail, saturation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from unstir.doctor.finding import Finding
from unstir.doctor.patient import Patient
from unstir.doctor.pictures import curves
from unstir.doctor.spectrum import spectrum

EDGE = 0.03
"""The share of numbers that lie at an end of the samples' range, from which on it is where they were clipped."""
BEYOND = 0.02
"""The share of samples' numbers far out of the range of pixels, from which on it matters."""


def check(patient: Patient) -> Iterator[Finding]:
    """Compare samples, as the run draws them by default, with as many training images."""
    drawn = patient.walked.samples.tensor.double()
    real = patient.some(patient.splits.train, len(drawn))[0].double()
    if not drawn.isfinite().all():
        yield Finding(
            "no numbers",
            "What is drawn is not made of numbers.",
            "a sample holds a NaN or an infinity",
            "unstir sample RUN --clip static --guidance 0",
            "images",
            1.0,
        )
        return
    bounded = patient.config.samples.bounded
    for findings in (
        _range(drawn, bounded),
        _edge(drawn, real),
        _tones(drawn, real, patient.guided),
        _detail(drawn, real),
    ):
        for finding in findings:
            yield finding.noting(patient.walked.otherwise)


def _range(drawn: Tensor, bounded: bool) -> Iterator[Finding]:
    out = float((drawn.abs() > 1.1).double().mean())
    if out > BEYOND and bounded:
        yield Finding(
            "out of range",
            "Samples go far beyond the range of pixels.",
            f"{out:.1%} of their numbers are beyond 1.1, where pixels end at 1; normal is none",
            "unstir sample RUN --clip static",
            "the prediction stays among images, and the walk with it",
            min(0.85, 0.6 + out),
            {"out of range": out},
        )


def _tones(drawn: Tensor, real: Tensor, guided: bool) -> Iterator[Finding]:
    """Compare saturation, brightness and contrast."""
    mean, contrast = _shift(drawn, real), float(drawn.std() / real.std())
    saturated, usual = (float((x.abs() > 0.99).double().mean()) for x in (drawn, real))
    figures = {"mean": mean, "contrast": contrast, "saturated": saturated}
    if saturated > usual + 0.25:
        yield Finding(
            "saturated",
            "Samples are burnt out: many pixels are black or white to the full.",
            f"{saturated:.0%} of their pixels, and {usual:.0%} of the data's",
            "unstir sample RUN --guidance 0, or with --guidance-rescale 0.7" if guided else "train longer",
            "colours as the data has them",
            min(0.85, 0.3 + saturated - usual),
            figures,
        )
    if mean > 0.35:
        yield Finding(
            "brightness",
            "Samples are brighter or darker than the data, or of other colours.",
            f"their mean colour is {mean:.2f} of the data's standard deviation away; normal is under 0.2",
            "see the findings about schedule and sampler; else train longer",
            "samples of the data's colours",
            min(0.6, 0.2 + mean / 3),
            figures,
        )
    if contrast < 0.7 or contrast > 1.4:
        yield Finding(
            "contrast",
            f"Samples have {'less' if contrast < 1 else 'more'} contrast than the data.",
            f"{contrast:.2f} of the data's; normal is 0.85 to 1.15",
            "unstir sample RUN --guidance 0" if contrast > 1 and guided else "train longer",
            "samples of the data's contrast",
            0.45,
            figures,
        )


def _detail(drawn: Tensor, real: Tensor) -> Iterator[Finding]:
    """Compare the power of fine detail and of large forms."""
    ours, theirs = spectrum(drawn), spectrum(real)
    power = (ours / theirs.clamp(min=1e-12)).tolist()
    coarse, fine, contrast = power[0], power[-1], float(drawn.std() / real.std())
    figures = {"coarse": coarse, "fine": fine}
    picture = partial(
        curves,
        [2.0**octave for octave in range(len(power))],
        {"samples": ours.tolist(), "data": theirs.tolist()},
        "detail, in octaves: fine to the right",
        "power",
    )
    if fine > 3 or fine < 0.2:
        yield Finding(
            "grain" if fine > 3 else "blur",
            "Samples are grainy." if fine > 3 else "Samples are blurred.",
            f"they have {fine:.2g} times the data's power in the finest detail; normal is 0.5 to 2",
            "train longer; to see whether it is the sampler: unstir sample RUN --steps 200",
            "detail as the data has it",
            0.4,
            figures,
            picture,
        )
    if coarse < 0.4 and contrast >= 0.7:
        yield Finding(
            "no large forms",
            "Samples have textures and few large forms.",
            f"they have {coarse:.2g} times the data's power in the coarsest forms; normal is 0.7 to 1.4",
            "train longer, or with attention over the whole image (--set network.kind=unet)",
            "parts of an image belong together",
            0.42,
            figures,
            picture,
        )


def _edge(drawn: Tensor, real: Tensor) -> Iterator[Finding]:
    """Look for an end of the samples' range, reached by many numbers, beyond which the data has many more."""
    for sign, side in ((1, "above"), (-1, "below")):
        end = float((sign * drawn).max())
        at = float((sign * drawn > end - 1e-3).double().mean())
        beyond = float((sign * real > end + 0.05).double().mean())
        if at > EDGE and beyond > EDGE:
            yield Finding(
                "range of samples",
                "Samples are clipped within the range of the data.",
                f"{at:.0%} of their numbers are {sign * end:.2f}, none is {side}, and {beyond:.0%} of the data's; "
                "pixels reach from -1 to 1",
                "clip predictions to the range of the training images, [-1, 1]",
                "samples as dark and as bright as the data",
                0.9,
                {"end": sign * end, "at it": at, "beyond it": beyond},
            )


def _shift(drawn: Tensor, real: Tensor) -> float:
    """Return how far the mean colours are apart, in standard deviations of the data."""
    apart = drawn.mean((0, 2, 3)) - real.mean((0, 2, 3))
    return float(apart.abs().max() / real.std())
