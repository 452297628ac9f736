"""The examination: the checks in order, since each presumes those before it, and what they found, ranked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from unstir.doctor import (
    average,
    clock,
    condition,
    copies,
    data,
    file,
    levels,
    resolution,
    sampler,
    training,
    walk,
)
from unstir.doctor.finding import Finding, ranked
from unstir.doctor.patient import Patient
from unstir.progress import tracked


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: What it looks at.
        find: What finds.
        needs: The verbs that a model needs for it.
    """

    name: str
    find: Callable[[Patient], Iterator[Finding]]
    needs: tuple[str, ...] = ()


CHECKS = (
    Check("data", data.check),
    Check("file", file.check),
    Check("sampler", sampler.check, ("draw", "predict")),
    Check("average", average.check, ("predict",)),
    Check("levels", levels.check, ("predict",)),
    Check("time and condition", condition.check, ("predict",)),
    Check("samples", walk.check, ("draw",)),
    Check("training", training.check),
    Check("copies", copies.check, ("draw",)),
    Check("schedule", resolution.check, ("predict",)),
    Check("time spent", clock.check),
)


@dataclass(frozen=True)
class Diagnosis:
    """What an examination came to.

    Attributes:
        findings: By how much they explain.
        skipped: Checks that the model has not the verbs for.
    """

    findings: list[Finding]
    skipped: list[str]

    @property
    def healthy(self) -> bool:
        """Whether nothing is alarming."""
        return not any(finding.alarming for finding in self.findings)


def examine(patient: Patient, progress: bool = False) -> Diagnosis:
    """Run all checks that a model has the verbs for."""
    verbs = {*patient.config.verbs}
    able = [check for check in CHECKS if verbs.issuperset(check.needs)]
    found = [
        replace(finding, check=check.name, remedy=finding.remedy.replace("RUN", str(patient.run)))
        for check in tracked(able, len(able), "examining", progress)
        for finding in check.find(patient)
    ]
    return Diagnosis(ranked(found), [check.name for check in CHECKS if check not in able])
