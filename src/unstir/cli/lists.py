"""``unstir recipes``, ``datasets`` and ``samplers``: what there is, a line for each."""

from __future__ import annotations

import inspect

from unstir.cli.options import Json
from unstir.cli.report import Report


def recipes(as_json: Json = False) -> None:
    """List the recipes that unstir train takes, with the budget of each unless you give one."""
    from unstir.cli.carrying_out import budget_words
    from unstir.recipes import RECIPES, budgets

    report = Report(as_json)
    about = {name: _first_line(recipe) for name, recipe in RECIPES.items()}
    own = {name: budgets(name) for name in RECIPES}
    report.table((name, " + ".join(map(budget_words, own[name])), about[name]) for name in RECIPES)
    if as_json:
        spent = {name: [one.model_dump(include={"images", "seconds"}) for one in own[name]] for name in RECIPES}
        report.end("", {"recipes": {name: {"about": about[name], "budgets": spent[name]} for name in RECIPES}})


def datasets(as_json: Json = False) -> None:
    """List the data sets that have a name; --data takes these, and any folder of images."""
    from dataclasses import asdict

    from unstir.data.sources import DATASETS

    report = Report(as_json)
    rows = []
    for name, known in DATASETS.items():
        shape = "x".join(map(str, known.size)) if known.size else "sizes vary"
        labels = "labelled" if known.labelled else "no labels"
        rows.append(
            (name, f"{sum(known.images):,} images", shape, labels, known.about, f"licence: {known.licence}")
        )
    report.table(rows)
    if as_json:
        report.end("", {"datasets": {name: asdict(known) for name, known in DATASETS.items()}})


def samplers(as_json: Json = False) -> None:
    """List the samplers that --sampler takes."""
    from unstir.sampling.config import sampler_options
    from unstir.sampling.config import samplers as kinds

    report, known = Report(as_json), kinds.known
    about = {name: _first_line(sampler) for name, sampler in known.items()}
    options = {
        name: [option.replace("_", "-") for option, of in sampler_options().items() if name in of.samplers]
        for name in known
    }
    report.table((name, about[name], " ".join(f"--{option}" for option in options[name])) for name in known)
    if as_json:
        report.end("", {"samplers": {name: {"about": about[name], "options": options[name]} for name in known}})


def _first_line(documented: object) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0]
