"""All commands under one roof."""

from __future__ import annotations

from typing import Annotated

import typer

from unstir.cli.compare import compare
from unstir.cli.demo import demo
from unstir.cli.doctor import doctor
from unstir.cli.edit import edit
from unstir.cli.evaluate import evaluate
from unstir.cli.export import export
from unstir.cli.lists import datasets, recipes, samplers
from unstir.cli.report_page import report
from unstir.cli.sample import EXAMPLES, sample
from unstir.cli.show import show
from unstir.cli.train import train

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: unstir demo",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from unstir import __version__

        print(f"unstir {__version__}")
        raise typer.Exit


@app.callback()
def unstir(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Train denoising generative models, draw from them, and measure what they draw."""


app.command(epilog="Example: unstir demo --for 3m")(demo)
app.command(epilog="Example: unstir train mnist --for 20m --set training.batch=64")(train)
app.command(epilog=EXAMPLES)(sample)
app.add_typer(edit, epilog="Example: unstir edit clean runs/mnist-dae noisy.png --out cleaned.png")
app.add_typer(show, epilog="Example: unstir show reverse runs/mnist --out reverse.gif")
app.command(epilog="Example: unstir evaluate runs/mnist --metrics fcd --steps 20")(evaluate)
app.command(epilog="Example: unstir compare runs/mnist --steps 10,20,50,100 --eta 0,0.2,0.5,1 --variance large")(
    compare
)
app.command(epilog="Example: unstir doctor runs/mnist")(doctor)
app.command(epilog="Example: unstir report runs/mnist")(report)
app.command(epilog="Example: unstir export runs/mnist --out mnist.safetensors")(export)
app.command(epilog="Example: unstir recipes --json")(recipes)
app.command(epilog="Example: unstir datasets --json")(datasets)
app.command(epilog="Example: unstir samplers --json")(samplers)
