"""What a check says: what is wrong, how it is known, what to change, and how much that explains. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALARMING = 0.3
"""The weight from which on a finding is an alarm, and below which it is a remark."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a run.

    Attributes:
        cause: Its name, the same whatever run it is found in, such as ``labels shuffled``.
        what: What is wrong, in a sentence.
        evidence: How it is known: a number beside what is normal.
        remedy: A command, or what to do before one.
        effect: What that should do.
        weight: How much of the trouble it explains, from 0 to 1.
        figures: The numbers of the evidence by name.
        picture: Draws what shows it, where a picture says more than its numbers.
        check: The check that found it, filled in by the examination.
    """

    cause: str
    what: str
    evidence: str
    remedy: str
    effect: str
    weight: float
    figures: Mapping[str, float] = field(default_factory=dict)
    picture: Callable[[], Figure] | None = None
    check: str = ""

    @property
    def alarming(self) -> bool:
        """Whether it is worth stopping for."""
        return self.weight >= ALARMING

    def noting(self, text: str) -> Finding:
        """Return it with something added to its evidence."""
        return replace(self, evidence=self.evidence + text)

    def values(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "cause": self.cause,
            "check": self.check,
            "what": self.what,
            "evidence": self.evidence,
            "remedy": self.remedy,
            "effect": self.effect,
            "weight": round(self.weight, 3),
            "figures": {name: float(value) for name, value in self.figures.items()},
        }


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings by how much they explain; of equal ones the earlier first, which the later presume."""
    return sorted(findings, key=lambda finding: -finding.weight)
