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
    precision,
    rate,
    resolution,
    sampler,
    samples,
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
        brief: Whether it belongs to a first look, which takes seconds.
    """

    name: str
    find: Callable[[Patient], Iterator[Finding]]
    needs: tuple[str, ...] = ()
    brief: bool = False


CHECKS = (
    Check("data", data.check),
    Check("file", file.check),
    Check("sampler", sampler.check, ("draw", "predict")),
    Check("average", average.check, ("predict",), brief=True),
    Check("levels", levels.check, ("predict",), brief=True),
    Check("time and condition", condition.check, ("predict",)),
    Check("walk", walk.check, ("draw", "predict")),
    Check("samples", samples.check, ("draw",)),
    Check("training", training.check, brief=True),
    Check("learning rate", rate.check, ("predict",)),
    Check("precision", precision.check, ("predict",)),
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

    @property
    def words(self) -> str:
        """The first finding, shortly."""
        if not self.findings:
            return "nothing is wrong at a first look"
        first = self.findings[0]
        return f"{first.what} {first.evidence[:1].upper()}{first.evidence[1:]}; {first.effect}"


def examine(patient: Patient, progress: bool = False) -> Diagnosis:
    """Run all checks that a model has the verbs for; of a brief patient those of a first look."""
    verbs = {*patient.config.verbs}
    wanted = [check for check in CHECKS if check.brief or not patient.brief]
    able = [check for check in wanted if verbs.issuperset(check.needs)]
    found = [
        replace(finding, check=check.name, remedy=finding.remedy.replace("RUN", str(patient.run)))
        for check in tracked(able, len(able), "examining", progress)
        for finding in check.find(patient)
    ]
    return Diagnosis(ranked(found), [check.name for check in wanted if check not in able])
