"""A contender in a process of its own: its memory is its own, and it waits while others are measured."""

from __future__ import annotations

import ctypes
import multiprocessing
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from benchmarks.contender import Contender, Mode
    from benchmarks.workloads import Workload


class Worker:
    """The parent's end: starts the process and asks it for measurements, one at a time.

    Args:
        contender: A name out of ``CONTENDERS``.
        workload: What it works on.
        turn: Seconds that a turn of training lasts, at least one step.
    """

    def __init__(self, contender: str, workload: Workload, turn: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = contender
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, contender, workload, turn), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, what: str) -> Any:
        """Return the answer to a question: see ``_answers`` for what can be asked.

        Raises:
            RuntimeError: If the contender fails, with its traceback.
        """
        try:
            self.pipe.send(what)
            fine, answer = self.pipe.recv()
        except (EOFError, BrokenPipeError):
            self.process.join()
            raise RuntimeError(f"{self.name} ended with {self.process.exitcode} when asked to {what}") from None
        if not fine:
            raise RuntimeError(f"{self.name} failed when asked to {what}:\n{answer}")
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.join()


def _serve(pipe: Connection, contender: str, workload: Workload, turn: float) -> None:
    answers: dict[str, Callable[[], Any]] | None = None
    while True:
        try:
            what = pipe.recv()
        except EOFError:
            return
        try:
            if answers is None:
                answers = _answers(contender, workload, turn)
            pipe.send((True, answers[what]()))
        except Exception:
            pipe.send((False, traceback.format_exc()))


def _answers(name: str, workload: Workload, turn: float) -> dict[str, Callable[[], Any]]:
    """Build the contender, warm it up, and return what it can be asked."""
    import torch

    from benchmarks.contenders import CONTENDERS
    from benchmarks.floor import count_flops, measure_floor

    factory, modes = CONTENDERS[name]
    flops = count_flops(factory(workload, modes[0]).step)
    trainer, seconds = _fastest(lambda mode: factory(workload, mode), modes, "step")
    count = max(1, round(turn / seconds))
    reset_peak_memory()

    @cache
    def drawer() -> Contender:
        if len(modes) == 1:
            return trainer
        return _fastest(lambda mode: factory(workload, mode), modes, "sample")[0]

    def about() -> dict[str, Any]:
        return {
            "parameters": sum(parameter.numel() for parameter in trainer.network.parameters()),
            "flops": flops,
            "precision": trainer.precision,
            "mode": asdict(trainer.mode),
            "threads": torch.get_num_threads(),
        }

    return {
        "about": about,
        "step": lambda: _turn(trainer.step, count),
        "sample": lambda: _turn(drawer().sample, 1),
        "sampling mode": lambda: asdict(drawer().mode),
        "memory": peak_memory,
        "floor": lambda: measure_floor(trainer.step),
        "pipeline": lambda: _pipeline(trainer),
    }


def _fastest(
    build: Callable[[Mode], Contender], modes: Sequence[Mode], task: Literal["step", "sample"]
) -> tuple[Contender, float]:
    """Return the contender in the mode that is fastest at a task, and the seconds it takes."""
    seconds = {}
    for mode in modes:
        contender = build(mode)
        if mode.compiled:
            contender.network.compile()
        call = getattr(contender, task)
        call()
        seconds[mode] = _timed(call)
        if seconds[mode] < 1.5 * min(seconds.values()):  # else it is out of the question
            seconds[mode] = min(seconds[mode], *(_timed(call) for _ in range(3)))
    best = min(seconds, key=lambda mode: seconds[mode])
    if best != mode:
        del contender, call
        contender = build(best)
    _release()
    return contender, seconds[best]


def _turn(call: Callable[[], object], count: int) -> float:
    """Return the seconds of one of ``count`` calls after one that is not counted; leave the memory to others."""
    call()
    seconds = _timed(lambda: [call() for _ in range(count)]) / count
    _release()
    return seconds


def _release() -> None:
    """Give freed memory back: all contenders' together can be more than the machine has."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def _timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes, the GPU's work included."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def reset_peak_memory() -> None:
    """Forget what was held before: the modes that were tried. Linux and GPUs only."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Return the most bytes this process has held: of the GPU where there is one, else resident memory."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held when this process was started
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _pipeline(contender: Contender) -> dict[str, float]:
    """Return how long one training batch takes to make, in seconds, and how many images it has."""
    from benchmarks.contender import Unstir
    from unstir.training.batches import training_batch

    assert isinstance(contender, Unstir)
    learner = contender.learner
    config, seconds = learner.config, []
    for step in range(20):
        began = time.perf_counter()
        training_batch(
            learner.model,
            learner.splits.train,
            seed=0,
            step=step,
            size=config.training.batch,
            flip=config.data.flip,
        )
        seconds.append(time.perf_counter() - began)
    return {"seconds": sorted(seconds)[len(seconds) // 2], "images": config.training.batch}
