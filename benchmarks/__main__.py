"""Measure all contenders in turn, round after round, and print the table: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.contenders import CONTENDERS, USUAL, missing
from benchmarks.machine import Elsewhere, describe
from benchmarks.report import save, show, summary
from benchmarks.worker import Worker
from benchmarks.workloads import QUICK, WORKLOADS, Workload

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Parse, measure, print, save."""
    args = _parse()
    os.environ.setdefault("TQDM_DISABLE", "1")
    console = Console(stderr=True)
    known = QUICK if args.quick else WORKLOADS
    workloads = [known[name] for name in args.networks or known]
    names = [name for name in CONTENDERS if name in args.contenders and not _left_out(name, console)]
    report: dict[str, Any] = {"machine": describe(), "rounds": args.rounds, "quick": args.quick, "workloads": []}
    elsewhere = Elsewhere()
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        for workload in workloads:
            present = names if workload.peers else [name for name in names if name.startswith("unstir")]
            report["workloads"].append(_measure(workload, present, args, progress))
    report["machine"]["cores_used_by_others"] = elsewhere.cores()
    show(report, Console(width=None if sys.stdout.isatty() else 160))
    if args.out:
        print(f"Kept in {save(report, args.out)}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="tiny networks, two rounds, nothing kept: a smoke test"
    )
    parser.add_argument("--rounds", type=int, help="how often each contender has its turn (5)")
    parser.add_argument("--turn", type=float, help="seconds of training in a turn, at least one step (1)")
    parser.add_argument("--networks", nargs="+", metavar="NAME", help=f"out of {', '.join(WORKLOADS)}")
    parser.add_argument(
        "--contenders", nargs="+", metavar="NAME", default=USUAL, help=f"out of {', '.join(CONTENDERS)}"
    )
    parser.add_argument("--out", type=Path, help=f"where the JSON goes ({RESULTS})")
    args = parser.parse_args()
    args.rounds = args.rounds or (2 if args.quick else 5)
    args.turn = args.turn if args.turn is not None else (0.0 if args.quick else 1.0)
    args.out = args.out or (None if args.quick else RESULTS)
    for name, known in ((args.networks, QUICK if args.quick else WORKLOADS), (args.contenders, CONTENDERS)):
        unknown = [part for part in name or () if part not in known]
        if unknown:
            parser.error(f"'{unknown[0]}' is none of {', '.join(known)}")
    return args


def _left_out(name: str, console: Console) -> bool:
    reason = missing(name)
    if reason:
        console.print(reason)
    return reason is not None


def _measure(workload: Workload, names: list[str], args: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Return one network's measurements: training in turns, then memory, sampling in turns, and unstir's floor."""
    model = workload.model
    task = progress.add_task(workload.name, total=len(names) * (1 + 2 * args.rounds) + 1)

    def ask(worker: Worker, what: str) -> Any:
        progress.update(task, description=f"{workload.name}: {worker.name}, {what}")
        answer = worker.ask(what)
        progress.advance(task)
        return answer

    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name, workload, args.turn)) for name in names}
        about = {name: ask(worker, "about") for name, worker in workers.items()}
        steps: dict[str, list[float]] = {name: [] for name in names}
        samples: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(args.rounds):
            for name, worker in workers.items():
                steps[name].append(ask(worker, "step"))
        peaks = {name: worker.ask("memory") for name, worker in workers.items()}
        for _ in range(args.rounds):
            for name, worker in workers.items():
                samples[name].append(ask(worker, "sample"))
        sampling_modes = {name: worker.ask("sampling mode") for name, worker in workers.items()}
        unstir = workers.get("unstir")
        pipeline = unstir and unstir.ask("pipeline")
        floor = unstir and ask(unstir, "floor")
    return {
        "name": workload.name,
        "network": model.network.model_dump(),
        "batch": workload.config.training.batch,
        "sample_batch": workload.sample_batch,
        "sample_steps": model.sampling.steps,
        "contenders": [
            {
                "contender": name,
                **about[name],
                "sampling_mode": sampling_modes[name],
                "step": summary(steps[name]),
                "sample": summary(samples[name]),
                "peak_bytes": peaks[name],
            }
            for name in names
        ],
        "floor": floor,
        "pipeline": pipeline,
    }


if __name__ == "__main__":
    main()
