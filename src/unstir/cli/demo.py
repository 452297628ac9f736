"""``unstir demo``: the bundled digits, trained in two minutes, drawn by label, read by another program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unstir.cli.carrying_out import carry_out
from unstir.cli.options import Duration, Json
from unstir.cli.report import Report
from unstir.cli.train import configure
from unstir.quantities import seconds_in

if TYPE_CHECKING:
    from unstir.data.dataset import ImageData
    from unstir.models.samples import Samples

DRAWN = 100
"""Ten of each digit."""


def demo(
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("runs/demo"),
    for_: Duration = None,
    as_json: Json = False,
) -> None:
    """Train on the bundled digits, draw ten of each, and say where the picture is.

    Nothing is fetched. The same command again draws from the model that is there.
    """
    from unstir.recipes.request import Request

    report = Report(as_json)
    config = configure("digits", Request(seconds=None if for_ is None else seconds_in(for_)), out)
    outcome = carry_out(config, out, report)
    if not outcome.finished:
        report.end(outcome.sentence(out), outcome.values(out))
    outcome.stop_if_interrupted()
    if not outcome.trained:
        report.say(f"The run in {out} is finished; drawing from it")

    from unstir.data.load import load as load_images
    from unstir.models.file import load
    from unstir.training.run_folder import data_of

    images = load(out).sample(DRAWN, batch=DRAWN, progress=True)
    picture = images.save(out / "demo.png")
    splits = load_images(data_of(out))
    read, real = read_rightly(images, splits.train, splits.held_out)
    report.say(
        f"A support vector machine trained on the real digits reads {read:.0%} of the drawn ones as the digit "
        f"asked for; of real digits that it has not seen, it reads {real:.0%} rightly"
    )
    values = {**outcome.values(out), "picture": str(picture), "read_rightly": read, "real_read_rightly": real}
    report.end(f"Ten drawings of each digit are in {picture}", values)


def read_rightly(drawn: Samples, train: ImageData, held_out: ImageData) -> tuple[float, float]:
    """Return the share of drawn and of held-out digits that scikit-learn reads as their labels, in [0, 1].

    Its support vector machine is trained on the real training digits, on the scale of 0 to 16 that they come in.
    """
    from sklearn.svm import SVC

    assert drawn.labels is not None
    assert held_out.labels is not None
    reader = SVC(gamma=0.001, C=10)
    reader.fit(train.pixels.reshape(len(train), -1) * (16 / 255), train.labels)
    pixels = drawn.bytes().numpy()
    read = reader.score(pixels.reshape(len(drawn), -1) * (16 / 255), drawn.labels.numpy())
    real = reader.score(held_out.pixels.reshape(len(held_out), -1) * (16 / 255), held_out.labels)
    return float(read), float(real)
