"""How good digits are after so many minutes of training: ``python -m benchmarks.time_to_quality``.

Contenders train on MNIST one after the other, each in a process of its own. At each mark 1,000 digits are drawn
from the average of its weights, and their Fréchet distance (FCD) to the test images is taken, on the features of
the set's own classifier (`unstir.evaluation.measure`). Drawing and measuring are on no one's clock.

unstir's learning rate falls to fit its budget, so each of its points is a run of its own, of the command
``unstir train mnist --for MARK``, all of which is on its clock: start, previews and checkpoints too. It draws as
its recipe does, in 30 guided steps, which ask the network 60 times. The peers' rates are constant, so their points
lie on one run, whose clock counts nothing but steps; they draw in 60 DDIM steps. How they are set is told in
`benchmarks.quality_peers`.

Figures are kept as they come. A later call adds to the file, or replaces the points that it measures anew, so that
contenders and marks can be measured one by one: ``--contenders unstir``, then ``--contenders diffusers``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import unstir
from benchmarks.contenders import missing
from benchmarks.machine import Elsewhere, describe, slug
from benchmarks.quality_peers import MNIST_PEERS, mnist_peer
from unstir.data.config import DataConfig
from unstir.data.load import load
from unstir.errors import InputError
from unstir.evaluation.measure import measure
from unstir.models.drawing import Drawing
from unstir.models.samples import Samples

RESULTS = Path(__file__).parent / "results"
CONTENDERS = ("unstir", *MNIST_PEERS)


class Unstir:
    """unstir's recipe, trained by its command.

    Args:
        data: MNIST's name or folder.

    Attributes:
        images: How many images the last run was trained on.
        seconds: How long its command took.
    """

    def __init__(self, data: str) -> None:
        self.data = data

    def train(self, seconds: float) -> None:
        """Train for ``seconds``, from the start."""
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "unstir", "train", "mnist", "--data", self.data]
            began = time.monotonic()
            done = subprocess.run(
                [*command, "--for", f"{seconds:.3f}s", "--out", folder, "--json"],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            self.seconds = time.monotonic() - began
            self.images = json.loads(done.stdout)["images"]
            run = unstir.load(folder)
            assert isinstance(run, Drawing)
            self.run = run

    def sample(self, count: int, steps: int) -> Samples:
        """Draw ``count`` digits as the recipe does, whatever ``steps`` the peers take."""
        return self.run.sample(count, batch=250)


def main() -> None:
    """Train, draw, measure, keep, print, plot."""
    args = _parse()
    os.environ.setdefault("TQDM_DISABLE", "1")
    report = _open(args)
    failed = False
    for name in args.contenders:
        reason = missing(name)
        if reason:
            print(reason)
            continue
        process = multiprocessing.get_context("spawn").Process(target=_contend, args=(name, args, report))
        process.start()
        process.join()
        failed |= process.exitcode != 0
        report = json.loads(args.out.read_text()) if args.out.exists() else report
    if report["points"]:
        _show(report)
        _plot(report, args.out.with_suffix(".png"))
        print(f"Kept in {args.out}, and drawn in {args.out.with_suffix('.png')}")
    sys.exit(failed)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.time_to_quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", default="mnist", help="MNIST: its name, or a folder that holds it (mnist)")
    parser.add_argument("--minutes", type=float, nargs="+", default=[0.5, 1, 2, 5], help="the marks (0.5 1 2 5)")
    parser.add_argument("--samples", type=int, default=1000, help="digits drawn at each mark (1000)")
    parser.add_argument("--steps", type=int, default=60, help="the peers' DDIM steps (60)")
    parser.add_argument("--contenders", nargs="+", default=CONTENDERS, choices=CONTENDERS, metavar="NAME")
    parser.add_argument("--out", type=Path, help="the JSON file; the plot goes beside it (by machine and day)")
    return parser.parse_args()


def _open(args: argparse.Namespace) -> dict[str, Any]:
    """Return the file's figures, or an empty report; fill in where it is."""
    try:
        data = load(DataConfig(source=args.data)).train
    except InputError as error:
        sys.exit(f"time_to_quality is skipped: {error}")
    if data.shape != (1, 28, 28) or data.labels is None:
        unlabelled = " without labels" if data.labels is None else ""
        sys.exit(
            f"--data {args.data} holds images of {data.shape}{unlabelled}, not labelled digits of (1, 28, 28)"
        )
    machine = describe()
    args.out = args.out or RESULTS / f"time-to-quality-{slug(machine)}.json"
    settings = {"data": data.fingerprint, "samples": args.samples, "steps": args.steps}
    if not args.out.exists():
        return {"machine": machine, **settings, "points": []}
    kept: dict[str, Any] = json.loads(args.out.read_text())
    if any(kept.get(key) != value for key, value in settings.items()):
        sys.exit(f"--out {args.out} holds figures of other --data, --samples or --steps; name another file")
    if any(kept["machine"][key] != machine[key] for key in ("processor", "cores", "gpu")):
        sys.exit(f"--out {args.out} holds figures of another machine; name another file")
    return kept


def _contend(name: str, args: argparse.Namespace, report: dict[str, Any]) -> None:
    """Measure a contender at each mark and keep its points."""
    splits = load(DataConfig(source=args.data))
    contender = Unstir(args.data) if name == "unstir" else mnist_peer(name, splits.train)
    for minutes in sorted(args.minutes):
        elsewhere = Elsewhere()
        contender.train(60 * minutes)
        busy = elsewhere.cores()
        samples = contender.sample(args.samples, args.steps)
        figures: dict[str, Any] = {"fcd": None}  # diverged
        if samples.tensor.isfinite().all():
            figures = measure([samples], splits, progress=False)
        point = {
            "contender": name,
            "minutes": minutes,
            "seconds": round(contender.seconds, 2),
            "images": contender.images,
            "cores_used_by_others": busy,
            **figures,
        }
        report["points"] = [p for p in report["points"] if (p["contender"], p["minutes"]) != (name, minutes)]
        report["points"] = sorted([*report["points"], point], key=_place)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=1) + "\n")
        print(f"{name}, {minutes:g} min: {contender.images:,} images, FCD {_figure(point)}", flush=True)


def _place(point: dict[str, Any]) -> tuple[int, float]:
    return CONTENDERS.index(point["contender"]), point["minutes"]


def _figure(point: dict[str, Any] | None) -> str:
    if point is None:
        return "-"
    return "diverged" if point["fcd"] is None else f"{point['fcd']:.2f}"


def _floor(report: dict[str, Any]) -> float | None:
    """Return the distance of as many training images, which is the same at every point."""
    return next((point["fcd_floor"] for point in report["points"] if "fcd_floor" in point), None)


def _show(report: dict[str, Any]) -> None:
    """Print a line for each contender, with a column for each mark."""
    points = {(point["contender"], point["minutes"]): point for point in report["points"]}
    marks = sorted({minutes for _, minutes in points})
    rows = [(f"FCD of {report['samples']:,} digits after", *(f"{mark:g} min" for mark in marks))]
    for name in dict.fromkeys(name for name, _ in points):
        rows.append((name, *(_figure(points.get((name, mark))) for mark in marks)))
    if floor := _floor(report):
        rows.append(("real digits", *(f"{floor:.2f}" for _ in marks)))
    width = max(len(row[0]) for row in rows)
    for first, *cells in rows:
        print(f"{first:<{width}}" + "".join(f"{cell:>10}" for cell in cells))


def _plot(report: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    machine = report["machine"]
    points = [point for point in report["points"] if point["fcd"] is not None]
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for name in dict.fromkeys(point["contender"] for point in points):
        own = [point for point in points if point["contender"] == name]
        axes.plot([point["seconds"] / 60 for point in own], [point["fcd"] for point in own], "o-", label=name)
    if floor := _floor(report):
        axes.axhline(floor, color="gray", linestyle=":", label=f"real digits ({floor:.2f})")
    axes.set(
        xscale="log", yscale="log", xlabel="minutes of training", ylabel=f"FCD of {report['samples']:,} digits"
    )
    marks = sorted({point["minutes"] for point in points})
    axes.set_xticks(marks, labels=[f"{mark:g}" for mark in marks])
    axes.minorticks_off()
    axes.set_title(machine["gpu"] or f"{machine['processor']}, {machine['cores']} cores", fontsize=9)
    axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
