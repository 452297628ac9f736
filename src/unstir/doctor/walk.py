"""What is drawn beside what was learned from: brightness, contrast, colours, fine detail, saturation."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from unstir.doctor.finding import Finding
from unstir.doctor.patient import Patient


def check(patient: Patient) -> Iterator[Finding]:
    """Compare samples, as the run draws them by default, with as many training images."""
    drawn = patient.drawn.tensor.double()
    real = patient.known[: len(drawn)].double()
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
    mean, contrast = _shift(drawn, real), float(drawn.std() / real.std())
    saturated, usual = (float((x.abs() > 0.99).double().mean()) for x in (drawn, real))
    fine = _fine(drawn) / max(_fine(real), 1e-12)
    figures = {"mean": mean, "contrast": contrast, "saturated": saturated, "fine": fine}
    guided = bool(getattr(patient.config.drawing({}), "guidance", 0))
    if saturated > usual + 0.25:
        yield Finding(
            "saturated",
            "Samples are burnt out: many pixels are black or white to the full.",
            f"{saturated:.0%} of their pixels, and {usual:.0%} of the data's",
            "unstir sample RUN --guidance 0, or with --guidance-rescale 0.7",
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
    if fine > 3 or fine < 0.2:
        yield Finding(
            "grain" if fine > 3 else "blur",
            "Samples are grainy." if fine > 3 else "Samples are blurred.",
            f"they have {fine:.1f} times the data's power in the finest detail; normal is 0.5 to 2",
            "train longer; to see whether it is the sampler: unstir sample RUN --steps 200",
            "detail as the data has it",
            0.4,
            figures,
        )


def _shift(drawn: Tensor, real: Tensor) -> float:
    """Return how far the mean colours are apart, in standard deviations of the data."""
    apart = drawn.mean((0, 2, 3)) - real.mean((0, 2, 3))
    return float(apart.abs().max() / real.std())


def _fine(x: Tensor) -> float:
    """Return the mean power of images (N, C, H, W) at more than half of the highest frequency."""
    spectrum = torch.fft.fft2(x - x.mean((2, 3), keepdim=True), norm="ortho").abs().pow(2).mean((0, 1))
    rows, columns = (torch.fft.fftfreq(side).abs() for side in spectrum.shape)
    high = (rows[:, None].pow(2) + columns.pow(2)).sqrt() > 0.35
    return float(spectrum[high].mean()) if high.any() else 0.0
