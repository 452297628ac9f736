"""``unstir train``: checks what was asked, says what it does, trains or goes on, and says where the result is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unstir.cli.clock import BEGAN
from unstir.cli.options import Duration, Json
from unstir.cli.places import check_writable
from unstir.cli.quantities import count_in, duration, seconds_in
from unstir.cli.report import Report
from unstir.errors import InputError

if TYPE_CHECKING:
    from unstir.data.dataset import ImageData
    from unstir.recipes.request import Request
    from unstir.training.checkpoint import Position
    from unstir.training.config import Config, TrainingConfig
    from unstir.training.folder import RunFolder


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="What to train; see unstir recipes.")],
    data: Annotated[
        str | None,
        typer.Option(help="A data set's name or a folder of images.", show_default="the recipe's"),
    ] = None,
    for_: Duration = None,
    images: Annotated[
        str | None,
        typer.Option(help="The budget in images seen, such as 20000, 500k or 2M.", show_default="the recipe's"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a setting; --dry-run lists them. May be given many times."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder.", show_default="runs/RECIPE")] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, max=2**32 - 1, help="Another seed, another run.", show_default="0"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and what it takes; train nothing.")
    ] = False,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke", help="Train a tiny version in seconds, on the bundled digits unless --data is given."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a recipe. The same command again goes on where it stopped.

    A budget in time counts from the start of the command, and holds over all the times it was started.
    """
    from unstir.recipes.request import Request

    if smoke and (for_ or images):
        raise InputError("--smoke has a budget of its own: leave --for and --images out")
    request = Request(data, count_in(images) if images else None, seconds_in(for_) if for_ else None)
    config = configure(recipe, request, settings or [], seed, smoke)
    place = out or Path("runs") / f"{recipe}{'-smoke' if smoke else ''}"
    report = Report(as_json)
    if dry_run:
        from unstir.cli.dry_run import describe

        check(config, place)
        describe(config, place, report)
        return
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    outcome = carry_out(config, place, report, renew=smoke and out is None and alone)
    report.end(outcome.sentence(place), outcome.values(place))
    outcome.stop_if_interrupted()


def configure(
    name: str, request: Request, settings: Sequence[str] = (), seed: int | None = None, smoke: bool = False
) -> Config:
    """Return the configuration that was asked for, checked as far as it can be without its images.

    Raises:
        InputError: For whatever is wrong with it.
    """
    from unstir.data.sources import find
    from unstir.recipes import recipe
    from unstir.recipes.request import smoke as tiny
    from unstir.training.request import sampling_config
    from unstir.training.settings import apply_settings

    chosen = recipe(name)
    if request.data is not None and not request.data.strip():
        raise InputError("--data is empty; give a data set's name or a folder of images")
    config = chosen(request)
    if smoke:
        config = tiny(config, own_data=request.data is not None)
    if seed is not None:
        config = config.model_copy(update={"seed": seed})
    config = apply_settings(config, settings)
    sampling_config(config, {})
    find(config.data.source)
    return config


def check(config: Config, out: Path) -> None:
    """Check that ``out`` can take the run.

    Raises:
        InputError: If it holds something else or cannot be written.
    """
    from unstir.training.start import check_out

    check_writable(out)
    check_out(config, out)


@dataclass(frozen=True)
class Outcome:
    """How training ended.

    Attributes:
        position: Where the run stands.
        picture: Its newest picture, if there is one.
        budget: The run's.
        trained: Whether this command trained; not if the run was finished before.
    """

    position: Position
    picture: Path | None
    budget: TrainingConfig
    trained: bool = True

    def sentence(self, out: Path) -> str:
        """Return the command's last line."""
        spent = f"{self.position.images:,} images, {duration(self.position.elapsed)}"
        if not self.position.finished:
            whole = budget_words(self.budget)
            return f"Stopped after {spent} of {whole}; the same command goes on. The run is in {out}"
        picture = f"; its newest picture is {self.picture}" if self.picture else ""
        if not self.trained:
            return f"This run is finished ({spent}): it is in {out}{picture}"
        return f"The run is in {out}{picture}"

    def values(self, out: Path) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "run": str(out),
            "picture": str(self.picture) if self.picture else None,
            "finished": self.position.finished,
            "trained": self.trained,
            "steps": self.position.step,
            "images": self.position.images,
            "seconds": round(self.position.elapsed, 2),
        }

    def stop_if_interrupted(self) -> None:
        """End the command with 130 if the user stopped it."""
        if not self.position.finished:
            raise typer.Exit(130)


def carry_out(config: Config, out: Path, report: Report, renew: bool = False) -> Outcome:
    """Train ``config`` in ``out``, or go on with it, saying what happens.

    Args:
        config: From :func:`configure`.
        out: The run folder.
        report: Where to say it.
        renew: Whether to start the very same run anew if ``out`` holds it, instead of going on with it.

    Raises:
        InputError: If ``out`` cannot take the run, its images cannot be read, or training fails.
    """
    from unstir.training.checkpoint import newest_checkpoint
    from unstir.training.folder import RunFolder
    from unstir.training.start import check_images, with_images

    check(config, out)
    folder = RunFolder(out)
    found = None if renew else newest_checkpoint(folder)
    if found and found[1].finished and _same_budget(config, folder.read_config()) and newest_picture(folder):
        return Outcome(found[1], newest_picture(folder), config.training, trained=False)
    report.say(f"Training {config.recipe} for {budget_words(config.training)}, in {out}")
    report.say(config.note)

    from unstir.data.load import load

    splits = load(config.data)
    config = with_images(config, splits.train)
    if not renew:
        check_images(config, out)

    from unstir.training.loop import Interrupted, train

    report.say(_describe(config, splits.train))
    if found:
        at = found[1]
        report.say(f"Going on from step {at.step:,} ({at.images:,} images, {duration(at.elapsed)})")
    if renew and out.exists():
        shutil.rmtree(out)
    try:
        picture: Path | None = train(config, out, splits, BEGAN)
    except Interrupted:
        picture = newest_picture(folder)
    newest = newest_checkpoint(folder)
    assert newest is not None
    return Outcome(newest[1], picture, config.training)


def _same_budget(a: Config, b: Config) -> bool:
    return (a.training.images, a.training.seconds) == (b.training.images, b.training.seconds)


def newest_picture(folder: RunFolder) -> Path | None:
    """Return the newest picture that training drew."""
    pictures = sorted(folder.samples.glob("images-*.png"))
    return pictures[-1] if pictures else None


def budget_words(training: TrainingConfig) -> str:
    """Return a budget as a person would say it."""
    return f"{training.images:,} images" if training.images is not None else duration(training.seconds or 0.0)


def _describe(config: Config, images: ImageData) -> str:
    from unstir.training.estimate import machine, parameter_count

    where, precision = machine(config)
    shape = "x".join(map(str, images.shape))
    classes = f" in {len(config.classes)} classes" if config.classes else ""
    return (
        f"{len(images):,} images of {shape}{classes}; {parameter_count(config):,} parameters; "
        f"on {where} in {precision}"
    )
