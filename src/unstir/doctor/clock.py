"""Where the time of training went."""

from __future__ import annotations

from collections.abc import Iterator

from unstir.doctor.finding import Finding
from unstir.doctor.patient import Patient

BESIDE = 0.35
"""The share of the time that goes elsewhere than into steps, from which on it is worth a word."""


def check(patient: Patient) -> Iterator[Finding]:
    """Compare the seconds of the run with those of its steps."""
    lines = [line for line in patient.log if line.get("images_per_second")]
    if len(lines) < 3:
        return
    seen = [0, *(line["images"] for line in lines)]
    steps = sum((there - here) / line["images_per_second"] for here, there, line in zip(seen, seen[1:], lines))
    total = lines[-1]["seconds"]
    share = 1 - steps / total if total else 0.0
    if total > 30 and share > BESIDE:
        yield Finding(
            "time beside steps",
            "Much of the time went elsewhere than into training steps.",
            f"{share:.0%} of {total:.0f} s went into starting, captions, pictures and checks; normal is under "
            f"{BESIDE:.0%}",
            "a longer budget spends less of it beside steps; captions are read only the first time",
            f"up to {1 / (1 - share):.1f} times the images in the same time",
            0.15,
            {"beside": share},
        )
