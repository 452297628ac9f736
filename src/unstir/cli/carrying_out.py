"""Training what was asked for, or going on with it: what is said on the way, and how it ended."""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import typer

from unstir.cli.clock import BEGAN
from unstir.cli.places import check_writable
from unstir.cli.report import Report, is_alone
from unstir.cli.room import check_training
from unstir.errors import counted, printable
from unstir.files import held
from unstir.quantities import duration

if TYPE_CHECKING:
    from unstir.data.dataset import ImageData, Splits
    from unstir.training.checkpoint import Position
    from unstir.training.config import Config, TrainingConfig
    from unstir.training.plan import Plan
    from unstir.training.run_folder import RunFolder


@dataclass(frozen=True)
class Outcome:
    """How training ended.

    Attributes:
        position: Where the run stands; of a plan, its stage that was trained last.
        folder: The run's, or that stage's.
        budget: The run's.
        verbs: What its model can be asked.
        trained: Whether this command trained; not if the run was finished before.
        stage: The stage of the plan that it is of, and whether it is the last; None for a single run.
    """

    position: Position
    folder: RunFolder
    budget: TrainingConfig
    verbs: tuple[str, ...]
    trained: bool = True
    stage: tuple[str, bool] | None = None

    @property
    def finished(self) -> bool:
        """Whether all is trained."""
        return self.position.finished and (self.stage is None or self.stage[1])

    @property
    def picture(self) -> Path | None:
        """Its newest picture, if there is one."""
        pictures = self.folder.pictures()
        return pictures[-1][1] if pictures else None

    def beside(self, out: Path) -> list[str]:
        """Return what is said before the command's last line: what else there is to see, and what to do next."""
        seen = {"its losses are drawn in": self.folder.losses, "its pictures are a film in": self.folder.film}
        shown = ", ".join(f"{what} {path}" for what, path in seen.items() if path.exists())
        verbs = {
            "sample": "draw" in self.verbs,
            "evaluate": {"draw", "predict", "encode"} & {*self.verbs},
            "doctor": True,
        }
        next_ = ", ".join(f"unstir {verb} {quote(str(out))}" for verb, able in verbs.items() if able)
        return [shown[:1].upper() + shown[1:], f"Next: {next_}" if self.finished else ""]

    def sentence(self, out: Path) -> str:
        """Return the command's last line."""
        spent = f"{self.position.images:,} images, {duration(self.position.elapsed)}"
        what = f"stage {self.stage[0]}" if self.stage else "run"
        if not self.position.finished:
            whole = budget_words(self.budget)
            stopped = f"Stopped in the {what} after" if self.stage else "Stopped after"
            return f"{stopped} {spent} of {whole}; the same command goes on. The run is in {out}"
        picture = f"; its newest picture is {self.picture}" if self.picture else ""
        noun = "plan" if self.stage else "run"
        if not self.trained:
            where = " in its last stage" if self.stage else ""
            return f"This {noun} is finished ({spent}{where}): it is in {out}{picture}"
        return f"The {noun} is in {out}{picture}"

    def values(self, out: Path) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "run": str(out),
            **({"stage": self.stage[0]} if self.stage else {}),
            "picture": str(self.picture) if self.picture else None,
            "film": str(self.folder.film) if self.folder.film.exists() else None,
            "losses": str(self.folder.losses) if self.folder.losses.exists() else None,
            "finished": self.finished,
            "trained": self.trained,
            "steps": self.position.step,
            "images": self.position.images,
            "seconds": round(self.position.elapsed, 2),
        }

    def stop_if_interrupted(self) -> None:
        """End the command with 130 if the user stopped it."""
        if not self.finished:
            raise typer.Exit(130)


def carry_out(planned: Config | Plan, out: Path, report: Report, renew: bool = False) -> Outcome:
    """Train what was planned in ``out``, or go on with it, saying what happens.

    Args:
        planned: From :func:`configure`.
        out: The run folder.
        report: Where to say it.
        renew: Whether to start the very same run anew if ``out`` holds it, instead of going on with it.

    Raises:
        InputError: If ``out`` cannot take the run, its images cannot be read, or training fails.
    """
    from unstir.training.plan import Plan, check_plan
    from unstir.training.start import check_out

    check_writable(out)
    # Before it is held: what is another's is not so much as looked through.
    if isinstance(planned, Plan):
        check_plan(planned, out)
    else:
        check_out(planned, out)
    with held(out, "trains in it") if report.speaks else nullcontext():
        if isinstance(planned, Plan):
            return _carry_out_plan(planned, out, report, renew)
        return _carry_out_run(planned, out, report, BEGAN, renew=renew)


def _carry_out_plan(planned: Plan, out: Path, report: Report, renew: bool) -> Outcome:
    from unstir.training.plan import check_plan, settled, write_plan
    from unstir.training.run_folder import check_only_run, empty

    check_plan(planned, out)
    if renew:
        check_only_run(out)
        empty(out)
    if report.speaks:
        write_plan(planned, out)
    trained, began = False, BEGAN
    for number, (name, config) in enumerate(planned.stages.items(), start=1):
        report.say(f"Stage {number} of {len(planned.stages)}: {name}")
        with held(out / name, "trains in it") if report.speaks else nullcontext():
            outcome = _carry_out_run(config, out / name, report, began, settled=settled(planned, out, name))
        trained, began = trained or outcome.trained, time.monotonic()
        outcome = replace(outcome, trained=trained, stage=(name, number == len(planned.stages)))
        if not outcome.position.finished:
            break
    return outcome


def _carry_out_run(
    config: Config, out: Path, report: Report, began: float, *, renew: bool = False, settled: bool = False
) -> Outcome:
    from unstir.data.kept import added_since
    from unstir.training.checkpoint import newest_checkpoint, tidy
    from unstir.training.run_folder import RunFolder, check_only_run, empty
    from unstir.training.start import check_out, check_same, seeing, with_data

    check_out(config, out)
    if renew:
        check_only_run(out)
    folder = RunFolder(out)
    found = None if renew else newest_checkpoint(folder)
    if found and found[1].finished and (settled or _same_budget(config, folder.read_config())):
        if report.speaks:
            tidy(folder, *found)  # should it have been killed just then
        added = added_since(config.data, folder.read_config().fingerprint)
        if added is None:
            from unstir.data.load import load

            check_same(seeing(config, load(config.data).train, out), out)
        elif added:
            source = printable(config.data.source)
            report.say(f"'{source}' has {counted(added, 'more image')} by now, which a new --out takes too")
        return Outcome(found[1], folder, config.training, config.model.verbs, trained=False)
    report.say(f"Training {config.recipe} for {budget_words(config.training)}, in {out}")
    report.say(config.note)

    from unstir.data.load import load

    splits = load(config.data)
    if splits.note:
        report.say(f"Of {printable(config.data.source)}: {splits.note}")
    if not renew:
        check_same(seeing(config, splits.train, out), out)
    seen = with_data(config, splits.train, out)

    from unstir.training.estimate import parameter_count
    from unstir.training.loop import Interrupted, train

    for name in config.model.told.keys() - seen.model.told.keys():
        report.say(f"The data has no {name}: the model is told none")
    parameters = parameter_count(seen.model)
    check_training(parameters, config.training.batch, splits.train.shape)
    report.say(_describe(seen, splits.train, parameters))
    if config.start and not found:
        report.say(_taken_over(seen, out))
    if found:
        at = found[1]
        report.say(f"Going on from step {at.step:,} ({at.images:,} images, {duration(at.elapsed)})")
    report.say(_warning(seen, splits, parameters, found[1].images if found else 0, out))
    if renew:
        empty(out)
    with suppress(Interrupted):
        train(config, out, splits, began)
    newest = newest_checkpoint(folder)
    assert newest is not None
    if newest[1].finished and is_alone():
        _look(folder, newest[1], report)
    return Outcome(newest[1], folder, config.training, config.model.verbs)


def _look(folder: RunFolder, position: Position, report: Report) -> None:
    """Say shortly what came of a training: if it was long what the doctor sees at a first look, and its trend."""
    from unstir.doctor.levels import FIRST_STEPS
    from unstir.training.log import lines
    from unstir.training.trend import trend

    if position.elapsed >= LOOKED_AFTER and position.step >= FIRST_STEPS:
        from unstir.doctor import copies
        from unstir.doctor.examine import examine
        from unstir.doctor.patient import Patient

        patient = Patient(folder.path, brief=True)
        report.say(f"The doctor: {examine(patient).words}")
        report.say(copies.first_look(patient))
    leads = trend(lines(folder.metrics), folder.read_config().training)
    report.say(leads.words if leads else "")


def _taken_over(config: Config, out: Path) -> str:
    import torch

    from unstir.models.file import load_parts
    from unstir.training.taking_over import shapes_of, taken_over

    parts = load_parts(config.model.parts, out)
    with torch.device("meta"):
        shapes = shapes_of(config.model.build(parts).state_dict())
    return taken_over(config.start, config.model, shapes).words


DAY = 86_400.0
LOOKED_AFTER = 60.0
"""Seconds of training from which on a first look at what came of it, which takes a few, is worth them."""


def _warning(config: Config, splits: Splits, parameters: int, trained: int, out: Path) -> str:
    """Return what to say of a budget in images that takes this machine more than a day; "" of another.

    A network asks for at least six operations of each weight and image, and for a hundred times that where it goes
    over many pixels: only if the least, at 1,000 GFLOP/s, takes a hundredth of a day, real steps are measured.
    """
    from unstir.models.file import load_parts
    from unstir.training.estimate import estimate

    if config.training.images is None or not is_alone():
        return ""
    left = config.training.images - trained
    if 6e-12 * parameters * left < DAY / 100:
        return ""
    found = estimate(config, splits, load_parts(config.model.parts, out), patience=2.0)
    seconds = left / found.images_per_second
    if seconds < DAY:
        return ""
    return f"This takes about {duration(seconds)} on this machine; --for 2h, say, trains what it can in that time"


def _same_budget(a: Config, b: Config) -> bool:
    return (a.training.images, a.training.seconds) == (b.training.images, b.training.seconds)


def budget_words(training: TrainingConfig) -> str:
    """Return a budget as a person would say it."""
    return f"{training.images:,} images" if training.images is not None else duration(training.seconds or 0.0)


def _describe(config: Config, images: ImageData, parameters: int) -> str:
    from unstir.training.estimate import machine

    where, precision = machine(config)
    shape = "x".join(map(str, images.shape))
    known = [
        f"{name} ({len(one.classes)} classes)" if one.classes else name for name, one in config.model.told.items()
    ]
    told = f", told {', '.join(known)}" if known else ""
    return (
        f"{counted(len(images), 'image')} of {shape}{told}; {parameters:,} parameters; on {where} in {precision}"
    )
