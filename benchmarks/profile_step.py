"""Where unstir's training step spends its time: ``python -m benchmarks.profile_step [10M | 36M | mnist]``."""

from __future__ import annotations

import argparse

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from benchmarks.contender import Mode, Unstir
from benchmarks.workloads import QUICK, WORKLOADS


def main() -> None:
    """Profile a few steps and print each operator's own share."""
    known = {**QUICK, **WORKLOADS}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile_step", description=__doc__)
    parser.add_argument("network", nargs="?", default="10M", choices=known)
    parser.add_argument("--steps", type=int, default=3, help="how many steps are profiled (3)")
    parser.add_argument("--top", type=int, default=16, help="how many operators are shown (16)")
    args = parser.parse_args()
    rows = operators(Unstir(known[args.network], Mode(precision="auto")), args.steps)
    total = sum(milliseconds for _, milliseconds, _ in rows)
    table = Table(title=f"{args.network}: {total:,.1f} ms a step in operators", box=box.SIMPLE_HEAD)
    table.add_column("operator")
    for heading in ("share", "ms a step", "calls a step"):
        table.add_column(heading, justify="right")
    for name, milliseconds, calls in rows[: args.top]:
        table.add_row(name, f"{milliseconds / total:.1%}", f"{milliseconds:,.2f}", f"{calls:g}")
    Console().print(table)


def operators(contender: Unstir, steps: int) -> list[tuple[str, float, float]]:
    """Return each operator's name, own milliseconds and calls, a step; the costliest first."""
    for _ in range(2):  # the first steps are slower
        contender.step()
    on_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiled:
        for _ in range(steps):
            contender.step()
    rows = []
    for event in profiled.key_averages():
        microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if microseconds > 0:
            rows.append((event.key, microseconds / 1e3 / steps, event.count / steps))
    return sorted(rows, key=lambda row: -row[1])


if __name__ == "__main__":
    main()
