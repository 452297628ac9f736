"""The training loop: steps until the budget is spent, and around them the log, pictures and checkpoints."""

from __future__ import annotations

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
from unstir.training.budget import Budget
from unstir.training.checkpoint import newest_checkpoint, restore, save_checkpoint, save_model
from unstir.training.config import Config
from unstir.training.folder import RunFolder
from unstir.training.learner import Learner
from unstir.training.log import RunLog
from unstir.training.run import Run

CHECKPOINT_SECONDS = 60.0
"""Between two checkpoints passes at least this, and at least 30 times what the last one took."""

PREVIEWS = (0.05, 0.25, 0.5, 0.75)
"""The parts of the budget after which pictures are drawn, beside the last at its end."""

VALIDATIONS = 20
"""How many times over the whole budget the validation loss is measured."""


class Interrupted(Exception):
    """The user asked training to stop. Its state is saved: the same command goes on."""


def train(config: Config, out: Path, splits: Splits, began: float, progress: bool = True) -> Path:
    """Train until the budget is spent, going on from the newest checkpoint in ``out`` if there is one.

    Args:
        config: The configuration, with what its images are filled in.
        out: The run folder.
        splits: The images that the configuration names.
        began: ``time.monotonic()`` when the command started: a budget in seconds counts from there.
        progress: Whether to show a progress bar.

    Returns:
        The last picture drawn.

    Raises:
        InputError: If the loss stops being a number, the disk is full, or a checkpoint is damaged.
        Interrupted: If the user stops it.
    """
    return _Training(config, RunFolder(out), Learner(config, splits), Budget(config.training, began)).run(progress)


class _Training:
    """One process's part of a run: from where the run stands to the end of the budget or an interruption."""

    def __init__(self, config: Config, folder: RunFolder, learner: Learner, budget: Budget) -> None:
        self.config, self.folder, self.learner, self.budget = config, folder, learner, budget
        self.accelerator, self.position = learner.accelerator, learner.position
        self.main = self.accelerator.is_main_process
        self.took = {"checkpoint": 0.0, "preview": 0.0, "validation": 0.0}
        self.saved_at = time.monotonic()
        self.interrupted = False
        self.resume()

    def resume(self) -> None:
        """Go to where the newest checkpoint stands."""
        found = newest_checkpoint(self.folder)
        if found:
            path, self.learner.position = found
            self.position = self.learner.position
            restore(path, self.learner.model, self.learner.average, self.learner.optimizer)
            if self.position.scaler and self.accelerator.scaler:
                self.accelerator.scaler.load_state_dict(self.position.scaler)
            self.budget.carried = self.position.elapsed
        if self.main:
            self.folder.write_config(self.config)

    def run(self, progress: bool) -> Path:
        """Take steps until the budget is spent; return the last picture."""
        every, batch = self.config.training.log_every, self.config.training.batch
        steps: list[tuple[Tensor, Tensor]] = []
        with RunLog(self.folder, self.position.step, progress, self.main) as log, self.catching_interrupts():
            done, stop = self.status()
            reported, mark = done, time.monotonic()
            while done < 1 and not stop:
                rate = self.budget.learning_rate(self.position.step + 1, done)
                steps.append(self.learner.step(rate))
                done, stop = self.status()
                if self.position.step % every and done < 1 and not stop:
                    continue
                speed = len(steps) * batch / (time.monotonic() - mark)
                self.report(log, steps, rate, speed, reported, done)
                if done < 1:
                    self.keep(reported, done, stop)
                steps, reported, mark = [], done, time.monotonic()
            if done < 1:
                raise Interrupted
            self.save(finished=True)
            return self.preview()

    def status(self) -> tuple[float, bool]:
        """Return the spent part of the budget and whether to stop; all processes agree with the main one."""
        done = self.budget.progress(self.position.images)
        if self.accelerator.num_processes == 1:
            return done, self.interrupted
        both = torch.tensor([done, float(self.interrupted)], dtype=torch.float64, device=self.accelerator.device)
        done, stop = broadcast(both, from_process=0).tolist()
        return done, bool(stop)

    def report(
        self,
        log: RunLog,
        steps: list[tuple[Tensor, Tensor]],
        learning_rate: float,
        speed: float,
        before: float,
        done: float,
    ) -> None:
        """Write a line of the log for the steps since the last; stop if a loss is no number."""
        losses, norms = (torch.stack(values).float().cpu() for values in zip(*steps, strict=True))
        bad = (~(losses.isfinite() & norms.isfinite())).nonzero()
        if len(bad) and not self.accelerator.scaler:
            step = self.position.step - len(steps) + int(bad[0]) + 1
            raise InputError(
                f"The loss stopped being a number at step {step}; the last checkpoint in {self.folder.path} is "
                f"intact: try a learning rate below {self.config.training.learning_rate:g}, or "
                "--set training.precision=float32, in another --out"
            )
        values = {
            "images": self.position.images,
            "loss": float(losses.mean()),
            "gradient_norm": float(norms.mean()),
            "learning_rate": learning_rate,
            "images_per_second": round(speed, 1),
            "seconds": round(self.budget.elapsed, 2),
        }
        if int(before * VALIDATIONS) != int(done * VALIDATIONS):
            with self.timed("validation"):
                values["validation_loss"] = self.learner.validation_loss()
        log.write(self.position.step, values)
        log.show(done, speed, values["loss"])

    def keep(self, before: float, done: float, stop: bool) -> None:
        """Draw a picture and save a checkpoint if it is time for them."""
        quarter = int(done * 4)
        idle = max(CHECKPOINT_SECONDS, 30 * self.took["checkpoint"])
        if stop or quarter > self.position.quarter or time.monotonic() - self.saved_at > idle:
            self.position.quarter = quarter
            self.save()
        if any(before < at <= done for at in PREVIEWS) and not stop:
            self.preview()

    def save(self, finished: bool = False) -> None:
        """Save a checkpoint and the model."""
        self.position.elapsed, self.position.finished = self.budget.elapsed, finished
        if self.accelerator.scaler:
            self.position.scaler = self.accelerator.scaler.state_dict()
        with self.timed("checkpoint"):
            if self.main:
                learner = self.learner
                save_checkpoint(self.folder, learner.model, learner.average, learner.optimizer, self.position)
                save_model(self.folder.model, self.config, learner.average)
            self.accelerator.wait_for_everyone()
        self.saved_at = time.monotonic()

    def preview(self) -> Path:
        """Draw pictures from the average, always from the same seeds; return the file."""
        path = self.folder.samples / f"images-{self.position.images:010d}.png"
        with self.timed("preview"):
            if self.main:
                assert self.config.images is not None
                _, height, width = self.config.images.shape
                classes = len(self.config.classes)
                columns = classes if 1 < classes <= 20 else 8
                rows = 8 if height * width <= 64 * 64 else 2
                Run(self.config, self.learner.average).sample(rows * columns).save(path)
            self.accelerator.wait_for_everyone()
        return path

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Measure what the end of the run will take, and keep so much of a budget in seconds for it."""
        began = time.monotonic()
        yield
        self.took[what] = time.monotonic() - began
        if all(self.took[known] for known in ("checkpoint", "preview")):
            self.budget.reserve = 1.1 * sum(self.took.values()) + 2.0

    @contextmanager
    def catching_interrupts(self) -> Iterator[None]:
        """Let Ctrl-C and a termination stop the run after its current step; a second one stops it at once."""

        def stop(number: int, frame: FrameType | None) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        try:
            before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: a notebook's or a test's
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
