r"""The walk from noise to images beside the forward process: do they meet the network as noised data does?

At a level noised data have the mean alpha m and the spread :math:`\sqrt{\alpha^2 v + \sigma^2}`. A network's
errors add up on its own way, and bring it images that it was never trained on (exposure bias, Ning et al. 2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from unstir.doctor.finding import Finding
from unstir.doctor.patient import Patient
from unstir.doctor.pictures import curves

OFF = 1.15
"""The factor by which the spread may be off."""
CLIPPED = 0.5
"""The share of a predicted image's numbers that may be clipped, at levels that show images."""


def check(patient: Patient) -> Iterator[Finding]:
    """Look at the walk, and say if it was not the run's own."""
    for finding in _found(patient):
        yield finding.noting(patient.walked.otherwise)


def _found(patient: Patient) -> Iterator[Finding]:
    """Compare the spread along the walk with that of noised data, and see how much clipping takes away."""
    mean = patient.known.double().mean((0, 2, 3))
    variance = float((patient.known.double() - mean[:, None, None]).pow(2).mean())
    noise, spreads, beyond = [], [], []
    for point in patient.walked.trace.points:
        alpha, sigma = float(point.level.alpha), float(point.level.sigma)
        if sigma > 0:
            noise.append(sigma / max(alpha, 1e-4))
            spreads.append(point.spread / (alpha**2 * variance + sigma**2) ** 0.5)
            beyond.append(point.beyond)
    if not noise:
        return
    worst = max(range(len(noise)), key=lambda i: max(spreads[i], 1 / max(spreads[i], 1e-9)))
    picture = partial(
        curves,
        noise,
        {"spread over that of noised data": spreads, "share of predictions beyond the range": beyond},
        "sigma / alpha: drawing goes to the left",
        "",
        log=False,
        normal=1.0,
    )
    figures = {"spread": spreads[worst], "at": noise[worst], "clipped": max(beyond)}
    if max(spreads[worst], 1 / max(spreads[worst], 1e-9)) > OFF:
        instead = "--guidance 0" if patient.guided else "--steps 100, or train longer"
        yield Finding(
            "walk leaves the data",
            f"On the way images have {'more' if spreads[worst] > 1 else 'less'} spread than noised data.",
            f"where sigma / alpha is {noise[worst]:.2g}, {spreads[worst]:.2f} of it; normal is 0.95 to 1.05",
            f"unstir sample RUN {instead}",
            "the network meets what it was trained on, and its answers hold",
            0.4,
            figures,
            picture,
        )
    late = [share for share, at in zip(beyond, noise) if at < 1]
    if late and max(late) > CLIPPED and patient.config.samples.bounded:
        yield Finding(
            "clipped",
            "Much of what the network predicts lies beyond the range of pixels, and is clipped.",
            f"{max(late):.0%} of its numbers where images are to be seen; normal is under a tenth, of black and "
            "white data more",
            "see the findings about guidance and training",
            "predictions that need no clipping",
            0.35,
            figures,
            picture,
        )
