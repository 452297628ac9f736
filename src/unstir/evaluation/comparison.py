"""Tables of what samples are worth by how they are drawn: the steps-by-eta table of DDIM, for any sampler and run.

A cell is one way of drawing in so many steps, from the same seeds. It is measured once and kept beside its run,
under all that it depends on, so that a table which was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.errors import InputError
from unstir.evaluation.metrics import HELD_OUT
from unstir.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from unstir.data.dataset import Splits
    from unstir.models.samples import Samples


@dataclass(frozen=True)
class Way:
    """A row of the table: how images are drawn.

    Attributes:
        name: As it is shown, such as ``ddim eta=0.5``.
        options: Of drawing.
    """

    name: str
    options: Mapping[str, object]


@dataclass(frozen=True)
class Cell:
    """What one way of drawing came to.

    Attributes:
        run: The run.
        way: The way's name.
        steps: Its steps.
        evaluations: How often the network was asked for each image.
        metric: Which.
        value: Its value.
        real: What as many real images score; None where that is not known.
        seconds: For each image, drawing alone, in this process.
        n: How many images were drawn.
        seed: Image i comes from this and i.
        against: Which real images the reference are.
    """

    run: str
    way: str
    steps: int
    evaluations: int
    metric: str
    value: float
    real: float | None
    seconds: float
    n: int
    seed: int
    against: str = HELD_OUT


def ways(samplers: Sequence[str], etas: Sequence[float], variances: Sequence[str]) -> list[Way]:
    """Return the rows: a sampler that takes eta or a variance has one for each, another has one.

    Raises:
        InputError: For an unknown sampler, or an eta or a variance that none of them takes.
    """
    from unstir.sampling.config import samplers as known

    found, vain = [], {"eta": bool(etas), "variance": bool(variances)}
    for name in samplers:
        fields = known[name].model_fields
        for option, values in (("eta", etas), ("variance", variances)):
            if option in fields and values:
                vain[option] = False
                found += [
                    Way(
                        f"{name} {option}={value:g}" if option == "eta" else f"{name} {option}={value}",
                        {"sampler": name, option: value},
                    )
                    for value in values
                ]
                break
        else:
            found.append(Way(name, {"sampler": name}))
    for option, unused in vain.items():
        if unused:
            raise InputError(f"None of the samplers {', '.join(samplers)} takes --{option}")
    return found


class Timed:
    """A stream of samples that knows how long drawing took.

    Attributes:
        seconds: So far.
        count: Of samples so far.
    """

    def __init__(self, stream: Iterable[Samples]) -> None:
        self.stream, self.seconds, self.count = iter(stream), 0.0, 0

    def __iter__(self) -> Iterator[Samples]:
        """Yield the samples."""
        while True:
            began = time.monotonic()
            part = next(self.stream, None)
            self.seconds += time.monotonic() - began
            if part is None:
                return
            self.count += len(part)
            yield part


def place_of(
    folder: Path, weights: str, way: Way, steps: int, metric: str, n: int, seed: int, against: str = HELD_OUT
) -> Path:
    """Return where a cell is kept, by the hash of a run's weights and all else that it depends on."""
    told = [weights, sorted(way.options.items()), steps, metric, n, seed, *[against] * (against != HELD_OUT)]
    digest = hashlib.blake2b(json.dumps(told, default=str).encode(), digest_size=12)
    return folder / "evaluations" / "cells" / f"{digest.hexdigest()}.json"


def kept(place: Path) -> Cell | None:
    """Return the cell that is kept at a place; None where there is none, or what is there is damaged."""
    try:
        return Cell(**json.loads(place.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def measured(
    run: str,
    model: Any,
    splits: Splits,
    way: Way,
    steps: int,
    metric: str,
    n: int,
    seed: int,
    batch: int,
    place: Path,
    against: str = HELD_OUT,
) -> Cell:
    """Draw a cell's images, measure them, and keep what they came to.

    Raises:
        InputError: If the model cannot draw so, or the images cannot be measured.
    """
    from unstir.evaluation.measure import measure
    from unstir.evaluation.metrics import OF_SAMPLES
    from unstir.processes import processes

    rank = processes()
    share = range(n)[rank.process_index :: rank.num_processes]
    options = {**way.options, "steps": steps}
    drawn = Timed(model.draw(share, seed=seed, batch=batch, progress=rank.is_main_process, **options))
    found = measure(drawn, splits, [metric], progress=rank.is_main_process, against=against)
    if metric not in found:
        raise InputError(f"There is no {metric} of {run}: {found[f'{metric}_absent']}")
    beside = found.get(f"{metric}_{OF_SAMPLES[metric].beside}")
    cell = Cell(
        run,
        way.name,
        steps,
        model.config.drawing(options).evaluations,
        metric,
        float(found[metric]),
        None if beside is None else float(beside),
        drawn.seconds / max(1, drawn.count),
        n,
        seed,
        against,
    )
    if rank.is_main_process:
        place.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(place) as partial:
            partial.write_text(json.dumps(asdict(cell)) + "\n")
    return cell


def rows(cells: Sequence[Cell], of: str) -> list[list[str]]:
    """Return the table of one value of the cells, ``value`` or ``seconds``: ways down, steps across."""
    steps = sorted({cell.steps for cell in cells})
    runs = list(dict.fromkeys(cell.run for cell in cells))
    table = [["", *(str(count) for count in steps)]]
    by_place = {(cell.run, cell.way, cell.steps): cell for cell in cells}
    for run, way in dict.fromkeys((cell.run, cell.way) for cell in cells):
        found = [by_place.get((run, way, count)) for count in steps]
        name = f"{run}: {way}" if len(runs) > 1 else way
        table.append([name, *("" if cell is None else f"{getattr(cell, of):.3g}" for cell in found)])
    return table


def csv(cells: Sequence[Cell]) -> str:
    """Return the cells as comma-separated lines under a line of names."""
    import csv as writer
    import io

    text = io.StringIO()
    out = writer.DictWriter(text, [*Cell.__dataclass_fields__], lineterminator="\n")
    out.writeheader()
    out.writerows(asdict(cell) for cell in cells)
    return text.getvalue()


def plot(cells: Sequence[Cell]) -> Figure:
    """Return the figure: the metric over how often the network is asked, a line for each way."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.6), dpi=140, layout="constrained")
    axis = figure.subplots()
    runs = list(dict.fromkeys(cell.run for cell in cells))
    for number, (run, way) in enumerate(dict.fromkeys((cell.run, cell.way) for cell in cells)):
        own = sorted((c for c in cells if (c.run, c.way) == (run, way)), key=lambda cell: cell.evaluations)
        name = f"{run}: {way}" if len(runs) > 1 else way
        axis.plot([c.evaluations for c in own], [c.value for c in own], "o-", color=f"C{number % 10}", label=name)
    real = cells[0].real
    if real is not None and len(runs) == 1:
        axis.axhline(real, color="0.6", linestyle=":", label="as many real images")
    axis.set(xscale="log", yscale="log", xlabel="network evaluations an image", ylabel=cells[0].metric)
    axis.grid(alpha=0.25, which="both")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    return figure
