"""``unstir train``: checks what was asked, says what it does, trains or goes on, and says where the result is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unstir.cli.carrying_out import carry_out
from unstir.cli.options import Duration, Json
from unstir.cli.report import Report, is_alone
from unstir.cli.room import check_data
from unstir.errors import InputError
from unstir.quantities import count_in, seconds_in

if TYPE_CHECKING:
    from unstir.recipes import Recipe
    from unstir.recipes.request import Request
    from unstir.training.config import Begun, Config
    from unstir.training.plan import Plan


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="What to train; see unstir recipes.")],
    data: Annotated[
        str | None,
        typer.Option(help="A data set's name or a folder of images.", show_default="the recipe's"),
    ] = None,
    ground: Annotated[
        str | None,
        typer.Option(
            help="What transparent images are laid over: white, black, checker or '#rrggbb'; with --set "
            "data.channels=4 they stay transparent.",
            show_default="white",
        ),
    ] = None,
    for_: Duration = None,
    images: Annotated[
        str | None,
        typer.Option(help="The budget in images seen, such as 20000, 500k or 2M.", show_default="the recipe's"),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=8,
            max=1024,
            help="Bring images to N x N pixels; the recipe images chooses its network for it.",
            show_default="the recipe's",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a setting; --dry-run lists them. May be given many times. For a stage of a plan: "
            "STAGE.KEY=VALUE.",
        ),
    ] = None,
    parts: Annotated[
        list[str] | None,
        typer.Option(
            "--part",
            metavar="NAME=RUN",
            help="A trained model that this one uses as it is; may be given many times.",
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Begin with the weights of another run, as far as they fit.",
            show_default="fresh weights",
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
    """Train a recipe, or all stages of a plan. The same command again goes on where it stopped.

    A budget in time counts from the start of the command, and holds over all the times it was started.
    """
    from unstir.recipes.request import Request

    if smoke and (for_, images) != (None, None):
        raise InputError("--smoke has a budget of its own: leave --for and --images out")
    request = Request(
        data,
        None if images is None else count_in(images),
        None if for_ is None else seconds_in(for_),
        size=size,
    )
    place = out or Path("runs") / f"{recipe}{'-smoke' if smoke else ''}"
    planned = configure(recipe, request, place, settings or [], parts or [], seed, smoke, start, ground)
    report = Report(as_json)
    if dry_run:
        from unstir.cli.dry_run import describe

        describe(planned, place, report)
        return
    outcome = carry_out(planned, place, report, renew=smoke and out is None and is_alone())
    for line in outcome.beside(place) if outcome.trained else ():
        report.say(line)
    report.end(outcome.sentence(place), outcome.values(place))
    outcome.stop_if_interrupted()


def configure(
    name: str,
    request: Request,
    out: Path,
    settings: Sequence[str] = (),
    parts: Sequence[str] = (),
    seed: int | None = None,
    smoke: bool = False,
    start: Path | None = None,
    ground: str | None = None,
) -> Config | Plan:
    """Return the configuration or the plan that was asked for, checked as far as it can be without its images.

    Raises:
        InputError: For whatever is wrong with it.
    """
    from unstir.data.sources import source_of
    from unstir.models.config import CODEC
    from unstir.recipes import recipe
    from unstir.recipes.request import smoke as tiny
    from unstir.training.captions import with_encoders
    from unstir.training.plan import Plan
    from unstir.training.run_folder import RunFolder, begun_in
    from unstir.training.settings import apply_settings
    from unstir.training.start import check_parts, for_codes, named_parts, with_named_parts

    chosen = recipe(name)
    if request.data is not None and not request.data.strip():
        raise InputError("--data is empty; give a data set's name or a folder of images")
    begun = begun_in(out)
    planned = _chosen(chosen, request, [*begun.values()])

    def adjusted(config: Config, folder: Path, settings: Sequence[str], parts: Mapping[str, Path]) -> Config:
        config = for_codes(config, parts.get(CODEC))
        if seed is not None:
            config = config.model_copy(update={"seed": seed})
        if start is not None:
            config = config.model_copy(update={"start": str(start)})
        noted = begun.get(folder, config.begun.model_copy(update={"budget": request.budget}))
        config = config.model_copy(update={"begun": noted})
        if ground is not None:
            settings = [f"data.ground={json.dumps(ground)}", *settings]
        shrink = partial(tiny, own_data=request.data is not None) if smoke else None
        config = with_named_parts(apply_settings(config, settings, shrink), parts, folder)
        check_parts(config)
        config = with_encoders(config)
        if start is not None and not RunFolder(folder).checkpoints():  # else it has begun already
            from unstir.training.taking_over import check as check_start

            check_start(config.start, config.model)
        if "draw" in config.model.verbs:
            config.model.drawing({})  # before any training, not when the first picture is drawn
        source_of(config.data)
        check_data(config.data, config.training.batch)
        return config

    if not isinstance(planned, Plan):
        sized = [] if request.size is None else [f"data.size={request.size}"]
        return adjusted(planned, out, [*sized, *settings], named_parts(parts))
    if start is not None:
        raise InputError(f"The recipe '{name}' is a plan, whose stages begin with fresh weights: leave --from out")
    if parts:
        raise InputError(f"The recipe '{name}' is a plan, which makes its own parts: leave --part out")
    if request.size is not None:
        raise InputError(f"The recipe '{name}' is a plan: set the data.size of each of its stages, not --size")
    own = _by_stage(planned, settings)
    stages = {}
    for stage, config in planned.stages.items():
        try:
            stages[stage] = adjusted(config, out / stage, own[stage], {})
        except InputError as error:
            raise InputError(f"In the stage {stage}: {error}") from None
    return planned.model_copy(update={"stages": stages})


def _chosen(recipe: Recipe, request: Request, begun: Sequence[Begun]) -> Config | Plan:
    """Return what a recipe chooses, for a run that is to go on under another budget what it chose at first."""
    from unstir.training.plan import Plan

    gflops = next((each.gflops for each in begun if each.gflops), request.gflops)
    now = recipe(replace(request, gflops=gflops))
    budget = next((each.budget for each in begun if each.budget is not None), request.budget)
    if budget == request.budget:
        return now
    then = recipe(replace(request, gflops=gflops, **({"seconds": None, "images": None} | budget)))
    if isinstance(now, Plan):
        return now.model_copy(
            update={"stages": {name: _going_on(then.stages[name], one) for name, one in now.stages.items()}}  # type: ignore[union-attr]
        )
    return _going_on(then, now)  # type: ignore[arg-type]


def _going_on(then: Config, now: Config) -> Config:
    """Return what was chosen first, under the budget of what is chosen now; its note says in what they differ."""
    from unstir.training.start import first_difference, lasting

    difference = first_difference(lasting(then), lasting(now))
    if difference is None:
        return now
    key, ours, other = difference
    note = (
        f"For this budget a new run would have a {key} of {other}; this one goes on with {ours}, as it was begun. "
        "Another --out begins a new one"
    )
    budget = {"images": now.training.images, "seconds": now.training.seconds}
    return then.model_copy(update={"note": note, "training": then.training.model_copy(update=budget)})


def _by_stage(plan: Plan, settings: Sequence[str]) -> dict[str, list[str]]:
    """Return the settings of each stage of a plan, whose names they begin with."""
    own: dict[str, list[str]] = {stage: [] for stage in plan.stages}
    for text in settings:
        stage, dot, rest = text.partition(".")
        if not dot or stage not in own:
            raise InputError(
                f"A setting of a plan begins with one of its stages ({', '.join(own)}), such as "
                f"{next(iter(own))}.training.batch=64, and '{text}' does not"
            )
        own[stage].append(rest)
    return own
