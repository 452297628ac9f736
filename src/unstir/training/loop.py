"""The training loop: steps until the budget is spent, and around them the log, pictures and checkpoints."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from accelerate.utils import broadcast
from torch import Tensor

from unstir.data.dataset import Splits
from unstir.errors import InputError
from unstir.models.file import load_parts, save
from unstir.training.budget import Budget
from unstir.training.captions import read_captions
from unstir.training.checkpoint import newest_checkpoint, restore, save_checkpoint, tidy
from unstir.training.config import Config
from unstir.training.learner import Learner, Values
from unstir.training.log import RunLog
from unstir.training.losses import NORM, save_losses
from unstir.training.preview import make_film, pictures
from unstir.training.run_folder import RunFolder
from unstir.training.start import with_data
from unstir.training.taking_over import shapes_of, taken_over

CHECKPOINT_SECONDS = 60.0
"""Between two checkpoints passes at least this, and at least 30 times what the last one took."""

PREVIEWS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8)
"""The parts of the budget after which pictures are drawn, beside the last at its end."""

FIGURES_AFTER, FIGURES = 30.0, 1.0
"""Seconds of training from which on its losses are drawn and its film is made, and about what that takes first."""

VALIDATIONS = 20
"""How many times over the whole budget the validation losses are measured."""


class Interrupted(Exception):
    """The user asked training to stop. Its state is saved: the same command goes on."""


def train(config: Config, out: Path, splits: Splits, began: float) -> Path | None:
    """Train until the budget is spent, going on from the newest checkpoint in ``out`` if there is one.

    Args:
        config: The configuration, as it was asked for.
        out: The run folder.
        splits: The images that the configuration names.
        began: ``time.monotonic()`` when the command started: a budget in seconds counts from there.

    Returns:
        The last picture drawn, or None where there is nothing to see.

    Raises:
        InputError: If the budget is spent before the first step, the loss stops being a number, the disk is full,
            a checkpoint is damaged, or a part is missing.
        Interrupted: If the user stops it.
    """
    seen = with_data(config, splits.train, out)
    read_captions(seen, splits.held_out)
    learner = Learner(seen, splits, load_parts(seen.model.parts, out))
    if config.start and newest_checkpoint(RunFolder(out)) is None:
        fresh = learner.model.state_dict()
        learner.begin(taken_over(config.start, seen.model, shapes_of(fresh)).state(fresh))
    return _Training(config, RunFolder(out), learner, Budget(config.training, began)).run()


class _Training:
    """One process's part of a run: from where the run stands to the end of the budget or an interruption."""

    def __init__(self, config: Config, folder: RunFolder, learner: Learner, budget: Budget) -> None:
        # What is written down is what was asked for, by which the same command is known again, and of what.
        parts = {"model": config.model.model_copy(update={"parts": learner.config.model.parts})}
        kind = learner.accelerator.device.type
        arithmetic = {**config.begun.arithmetic, kind: learner.precision}
        begun = config.begun.model_copy(update={"arithmetic": arithmetic})
        found = {"fingerprint": learner.config.fingerprint, "begun": begun}
        self.config = config.model_copy(update=parts | found)
        self.folder, self.learner, self.budget = folder, learner, budget
        self.accelerator, self.position = learner.accelerator, learner.position
        self.main = self.accelerator.is_main_process
        self.took = {"step": 0.0, "checkpoint": 0.0, "preview": 0.0, "validation": 0.0}
        long = (config.training.seconds or 0.0) >= FIGURES_AFTER
        self.took["figures"] = FIGURES if long else 0.0
        self.steps: list[Values] = []
        self.at: dict[str, float] = {"figures": time.monotonic()}
        self.pictures = pictures(learner.config.model, config.training.seconds, learner.splits.held_out)
        self.saved_at = time.monotonic()
        self.interrupted = self.complete = False
        self.resume()

    def resume(self) -> None:
        """Go to where the newest checkpoint stands."""
        found = newest_checkpoint(self.folder)
        if found:
            path, self.learner.position = found
            self.position = self.learner.position
            restore(path, self.learner.state())
            device = self.accelerator.device
            self.steps = [
                {name: torch.tensor(x, device=device) for name, x in step.items()}
                for step in self.position.pending
            ]
            self.budget.carried = self.position.elapsed
            self.budget.reserve = self.position.reserve or self.budget.reserve
            self.complete = self.position.finished and self.folder.read_config().training == self.config.training
        if self.main and found:
            tidy(self.folder, path, self.position)
        elif self.main:
            self.folder.write_config(self.config)

    def run(self) -> Path | None:
        """Take steps until the budget is spent; return the last picture."""
        every, batch = self.config.training.log_every, self.config.training.batch
        with (
            RunLog(self.folder, self.position.step, self.config.recipe, self.main) as log,
            self.catching_interrupts(),
        ):
            done, stop = self.status()
            # Of a budget in seconds what all agree on, since at the log's lines all do the same.
            logged = self.position.images - len(self.steps) * batch
            reported = done if self.config.training.seconds else self.budget.progress(logged)
            mark, fresh = time.monotonic(), 0
            while done < 1 and not stop:
                rate = self.budget.learning_rate(self.position.step + 1, done)
                self.steps.append(self.learner.step(rate))
                fresh += 1
                done, stop = self.status()
                log.advance(done)
                if self.position.step % every and done < 1 and not stop and not self.early(done):
                    continue
                self.check()
                self.took["step"] = (time.monotonic() - mark) / fresh
                if self.position.step % every == 0 or done == 1:
                    self.report(log, rate, reported, done)
                    self.steps, reported = [], done
                if done < 1:
                    self.keep(log, done, stop)
                mark, fresh = time.monotonic(), 0
            if done < 1:
                if self.position.step == 0:  # stopped before the first step
                    self.save()
                self.draw_figures()
                raise Interrupted
            if self.position.step == 0:
                raise InputError("The budget was spent before the first step; give more with --for")
            picture = self.preview(log, last=True)
            if not self.complete:
                self.save(finished=True)
            self.draw_figures()
            return picture

    def status(self) -> tuple[float, bool]:
        """Return the spent part of the budget and whether to stop; all processes agree with the main one."""
        done = 1.0 if self.complete else self.budget.progress(self.position.images)
        if self.accelerator.num_processes == 1:
            return done, self.interrupted
        both = torch.tensor([done, float(self.interrupted)], dtype=torch.float64, device=self.accelerator.device)
        done, stop = broadcast(both, from_process=0).tolist()
        return done, bool(stop)

    def early(self, done: float) -> bool:
        """Whether to find out now what the end of the run takes, which a budget in seconds must leave room for."""
        return self.config.training.seconds is not None and not self.position.reserve and done > PREVIEWS[0]

    def check(self) -> None:
        """Stop if a loss since the last line of the log is no number.

        Under fp16 a gradient that is none is usual: the step is left out and the loss scale lowered.
        """
        scaled = self.accelerator.scaler is not None
        counted = [x for name, x in self.measured().items() if not (scaled and name.startswith(NORM))]
        good = torch.stack(counted).isfinite().all(0)
        if not good.all():
            step = self.position.step - len(self.steps) + int((~good).nonzero()[0]) + 1
            saved = f"the last checkpoint in {self.folder.path} is intact"
            raise InputError(
                f"The loss stopped being a number at step {step}; "
                f"{saved if self.folder.checkpoints() else 'no checkpoint had been saved'}: "
                f"try a learning rate below {self.config.training.learning_rate:g}, or "
                "--set precision=float32, in another --out"
            )

    def measured(self) -> dict[str, Tensor]:
        """Return what this process measured since the last line of the log, by name, each (steps,)."""
        every = torch.stack([torch.stack([*step.values()]) for step in self.steps]).float().cpu()
        return dict(zip(self.steps[0], every.unbind(1), strict=True))

    def report(self, log: RunLog, learning_rate: float, before: float, done: float) -> None:
        """Write a line of the log for the steps since the last."""
        means = torch.stack([steps.mean() for steps in self.measured().values()])
        means = self.accelerator.reduce(means.to(self.accelerator.device), "mean")
        speed = self.config.training.batch / self.took["step"]
        values = {
            "images": self.position.images,
            **dict(zip(self.steps[0], means.tolist(), strict=True)),
            "learning_rate": learning_rate,
            "images_per_second": round(speed, 1),
            "seconds": round(self.budget.elapsed, 2),
        }
        if int(before * VALIDATIONS) != int(done * VALIDATIONS) and self.bearable("validation"):
            with self.timed("validation"):
                values |= self.learner.validation_losses()
        log.write(self.position.step, values)
        log.show(done, speed, {name: values[name] for name in self.steps[0] if not name.startswith(NORM)})

    def keep(self, log: RunLog, done: float, stop: bool) -> None:
        """Draw a picture and the figures and save a checkpoint if it is time for them."""
        pictures = sum(at <= done for at in PREVIEWS)
        wanted = (pictures > self.position.pictures and self.bearable("preview")) or self.early(done)
        if wanted and not stop:
            self.preview(log)
            self.position.pictures = pictures
        quarter = int(done * 4)
        idle = max(CHECKPOINT_SECONDS, 30 * self.took["checkpoint"])
        due = time.monotonic() - self.saved_at > idle or self.early(done)
        if stop or quarter > self.position.quarter or self.agreed(due):
            self.position.quarter = quarter
            self.save()
        if time.monotonic() - self.at["figures"] > max(CHECKPOINT_SECONDS, 30 * self.took["figures"]):
            self.draw_figures()

    def agreed(self, choice: bool) -> bool:
        """Return the main process's choice: clocks differ, and what all do together all must do."""
        if self.accelerator.num_processes == 1:
            return choice
        return bool(broadcast(torch.tensor(choice, device=self.accelerator.device), from_process=0))

    def save(self, finished: bool = False) -> None:
        """Save a checkpoint and the model."""
        self.position.elapsed, self.position.finished = self.budget.elapsed, finished
        self.position.pending = [{name: float(x) for name, x in step.items()} for step in self.steps]
        with self.timed("checkpoint"):
            if self.main:
                # The model before what may say that all is finished, and that before what says of which budget.
                save(self.folder.model, self.learner.average)
                save_checkpoint(self.folder, self.learner.state(), self.position)
                self.folder.write_config(self.config)
            self.accelerator.wait_for_everyone()
        self.saved_at = time.monotonic()

    def bearable(self, what: str) -> bool:
        """Whether a budget in seconds bears to do it again: the last time took a thirtieth of the time since."""
        since = time.monotonic() - self.at.get(what, -math.inf)
        return self.config.training.seconds is None or self.agreed(since > 30 * self.took[what])

    def preview(self, log: RunLog, last: bool = False) -> Path | None:
        """Draw pictures from the average, always from the same seeds; return the file."""
        path: Path | None = self.folder.picture(self.position.images)
        with self.timed("preview"):
            if self.main:
                path = self.pictures.draw(self.learner.average, path, last)
            self.accelerator.wait_for_everyone()
        if path:
            log.show_picture(path)
        return path

    def draw_figures(self) -> None:
        """Draw the losses and make the film anew, of a training that is long enough."""
        if self.main and self.budget.elapsed >= FIGURES_AFTER:
            with self.timed("figures"):
                save_losses(self.folder)
                make_film(self.folder)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Measure what the end of the run will take, and keep so much of a budget in seconds for it."""
        began = time.monotonic()
        yield
        self.at[what] = time.monotonic()
        self.took[what] = self.at[what] - began
        seconds = self.config.training.seconds
        if seconds and all(self.took[known] for known in ("checkpoint", "preview")):
            took = sum(self.took.values()) + max(0.0, self.pictures.last_seconds() - self.took["preview"])
            self.budget.reserve = self.position.reserve = 1.1 * took + min(2.0, 0.5 + 0.01 * seconds)

    @contextmanager
    def catching_interrupts(self) -> Iterator[None]:
        """Let Ctrl-C, a termination and a hang-up stop the run after its current step; a second stops it at once.

        What is ignored, as a hang-up under nohup, stays so.
        """

        def stop(number: int, frame: FrameType | None) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        try:
            before = {
                number: signal.signal(number, stop)
                for number in {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}
                if signal.getsignal(number) is not signal.SIG_IGN
            }
        except ValueError:  # not in the main thread: a notebook's or a test's
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
