"""``unstir export``: one file that is a model, whatever parts it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unstir.cli import options
from unstir.cli.places import check_writable
from unstir.cli.report import Report
from unstir.errors import InputError


def export(
    run: options.RunPath,
    out: Annotated[Path, typer.Option(help="The file to write, such as mnist.safetensors.")],
    as_json: options.Json = False,
) -> None:
    """Write a model, with the weights of its parts, into one file, which every command takes in place of a run."""
    from unstir.models.file import read_config

    _, config = read_config(run)
    if out.exists():
        raise InputError(f"--out {out} is there already; name another file, or remove it first")
    if out.suffix != ".safetensors":
        raise InputError(f"--out {out} must end in .safetensors")
    check_writable(out)

    from unstir.models.file import load, save

    save(out, load(run), whole=True)
    values = {"run": str(run), "out": str(out), "kind": config.kind, "parts": [*config.parts]}
    inside = (
        f", with its part{'s' * (len(config.parts) > 1)} {', '.join(config.parts)} inside" if config.parts else ""
    )
    Report(as_json).end(f"The model is in {out}{inside}", values)
