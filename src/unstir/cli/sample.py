"""``unstir sample``: draws images from a run and saves them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unstir.cli import options
from unstir.cli.places import check_pictures, default_place
from unstir.cli.report import Report
from unstir.cli.room import check_drawing
from unstir.cli.steering import steered
from unstir.errors import InputError
from unstir.ground import CHECKER, check_ground

if TYPE_CHECKING:
    from unstir.models.config import Label, ModelConfig
    from unstir.models.table import Table

EXAMPLES = """Example: unstir sample runs/mnist --label 7 --guidance 2 --out sevens.png

unstir sample runs/mnist -n 1000 --out digits.npz

unstir sample runs/shapes-text --prompt "a red star at the top left" -n 16

unstir sample runs/mnist-untold --classifier runs/mnist-classifier --label 3 --scale 2

unstir sample runs/disks -n 16 --condition radius=7.5 --condition colour=red

unstir sample runs/disks --condition radius=3,6,9 --condition colour=red,blue --out grid.png"""


@options.with_drawing
def sample(
    run: options.RunPath,
    n: Annotated[
        int | None,
        typer.Option(
            "-n",
            metavar="N",
            min=1,
            max=10**12,
            help="How many images; in a labelled grid, of each combination.",
            show_default="64; in a labelled grid 1",
        ),
    ] = None,
    label: options.Label = None,
    prompt: options.Prompt = None,
    condition: options.Condition = None,
    *,
    asked: dict[str, Any],
    classifier: options.Classifier = None,
    scale: options.Scale = None,
    weaker: options.Weaker = None,
    seed: options.Seed = 0,
    batch: options.Batch = 64,
    out: Annotated[
        str | None,
        typer.Option(
            help="A grid (x.png), a folder of pictures (x/) or an array (x.npz).",
            show_default="RUN/samples/sample-seed0.png",
        ),
    ] = None,
    ground: Annotated[
        str | None,
        typer.Option(
            help="What a grid of transparent images is laid over: white, black, checker or '#rrggbb'; a folder "
            "and an array keep the transparency.",
            show_default="checker",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Draw images from a run and save them, under torchrun by all its processes."""
    from unstir.models.config import label_indices, prompt_list
    from unstir.models.encoders import check_encoder
    from unstir.models.file import read_config
    from unstir.models.turns import in_turn
    from unstir.models.written import split, warning

    _, config = read_config(run)
    config.require("draw")
    steering = steered(run, config, asked, classifier, scale, weaker)
    out = str(default_place(run, f"samples/sample-seed{seed}.png")) if out is None else check_pictures(out)
    if ground is not None:
        check_grounded(ground, config.image_shape, out)
    prompts = prompt_list(config.texts, prompt)
    table = read_table(config, steering.classes, condition or [], label, prompts, n)
    count, shape = len(table), config.image_shape
    told = [] if table.find("label") else split(label, steering.classes) if label else steering.classes
    check_drawing(count, shape, table if table.across else in_turn(told, count), out, batch)
    labels = labels_of(table, steering.classes, label)
    classes = label_indices(steering.classes, labels, range(count))
    if len(prompts) > count:
        raise InputError(f"{len(prompts)} prompts were given, and -n asks for {count} images; ask for more")
    for name, one in config.texts.items() if prompts else ():
        check_encoder(name, one)
    report = Report(as_json)
    if config.texts and not prompts:
        report.say("Drawn without a prompt: --prompt 'a text' says what is to be seen")
    for written in table.told:
        report.say(warning(config.told, written))

    from unstir.models.file import load
    from unstir.models.samples import Samples, write
    from unstir.processes import processes, rounds

    place = processes()
    drawn = load(run).draw(
        range(count)[place.process_index :: place.num_processes],
        label=labels,
        prompt=prompts_of(table, prompts),
        told=table.tensors(),
        seed=table.seeds(seed) if table.across else seed,
        batch=batch,
        progress=place.is_main_process,
        **asked,
        **steering.arguments(),
    )
    together = map(Samples.joined, rounds(drawn))
    if place.is_main_process:
        written = write(together, out, count, new=True, table=table, ground=ground or CHECKER)
        out = f"{written}{'/' if out.endswith('/') else ''}"
    else:
        for _ in together:
            pass
    values = {
        "run": str(run),
        "out": out,
        "n": count,
        "seed": seed,
        "labels": classes,
        **({"prompts": list(prompts)} if config.texts else {}),
        "told": table.texts,
        "sampling": steering.settings.model_dump(mode="json"),
        **steering.values(),
    }
    report.end(f"{count} image{' is' if count == 1 else 's are'} in {out}", values)


def check_grounded(ground: str, shape: Sequence[int], out: str) -> None:
    """Check that what is drawn can be laid over a ground.

    Raises:
        InputError: If the ground is none, or the samples (C, H, W) are not transparent, or stay so in ``out``.
    """
    try:
        check_ground(ground)
    except InputError as error:
        raise InputError(f"--ground cannot be '{ground}': {error}") from None
    if shape[0] != 4:
        raise InputError(f"--ground is for transparent images, of 4 channels, and the model's have {shape[0]}")
    if out.endswith(("/", ".npz")):
        raise InputError(f"--out {out} keeps the transparency: leave --ground out")


def read_table(
    config: ModelConfig,
    classes: Sequence[str],
    conditions: Sequence[str],
    label: str | None,
    prompts: Sequence[str],
    n: int | None,
) -> Table:
    """Return what the images are told: all the same, or every combination of several values.

    In a grid of combinations the label is one thing told beside others, and so are several prompts; elsewhere they
    come in turn, and the table does not hold them.

    Args:
        config: The model's.
        classes: What a label is out of: the model's, or those of a classifier that guides it.
        conditions: As they are written, ``NAME=VALUE`` each.
        label: As it is written.
        prompts: The texts.
        n: How many images, or how many of each combination; None: 64, or 1.

    Raises:
        InputError: For what the model cannot be told, or cannot do without.
    """
    from unstir.data.decode import decode_file
    from unstir.models.table import Table
    from unstir.models.written import Written, read
    from unstir.networks.told import Told

    known = {**config.told, **({"label": Told(kind="classes", classes=tuple(classes))} if classes else {})}
    picture = partial(decode_file, size=config.image_shape[1:])  # type: ignore[arg-type]
    told = [read(known, text, picture) for text in conditions]
    grid = any(len(written.values) > 1 for written in told)
    if label is not None and (grid or any(written.name == "label" for written in told)):
        told.append(read(known, f"label={label}", picture))
    if grid and len(prompts) > 1:
        told.append(Written("prompt", tuple(prompts), tuple(range(len(prompts)))))
    given = {written.name for written in told} | ({"label"} if classes else set())
    for name in config.told.keys() - given - (config.texts.keys() if prompts else set()):
        way = {"embedding": "it", "text": "a prompt"}.get(config.told[name].kind, f"--condition {name}=VALUE")
        config.hideable(f"Drawing without {way}", [name])
    return Table(told, n or (1 if grid else 64))


def labels_of(table: Table, classes: Sequence[str], label: str | None) -> Sequence[Label] | None:
    """Return one label for each image of a table, or None for the classes in turn, or for a model without.

    Where the table holds no label, those of a grid come in turn as its seeds do: all of a seed have one.

    Raises:
        InputError: For a label that cannot be read.
    """
    told = table.find("label")
    if told is not None:
        return [told.texts[i] for i in table.values(told)]
    if table.across is None:
        return split_labels(label, classes, len(table))
    return [table.sample(i) % len(classes) for i in range(len(table))] if classes else None


def prompts_of(table: Table, prompts: Sequence[str]) -> Sequence[str] | None:
    """Return one prompt for each image of a table that holds several, else those that come in turn, or None."""
    told = table.find("prompt")
    return (prompts or None) if told is None else [told.texts[i] for i in table.values(told)]


def split_labels(text: str | None, classes: Sequence[str], n: int) -> list[str] | None:
    """Return one label for each of ``n`` images: those with commas between them in turn.

    Raises:
        InputError: For more labels than images, or an empty one.
    """
    if text is None:
        return None
    from unstir.models.written import split

    labels = split(text, classes)
    if not all(labels):
        raise InputError(f"--label takes a class or several with commas between them, not '{text}'")
    if len(labels) > n:
        raise InputError(f"--label names {len(labels)} classes, and -n asks for {n} images; ask for more")
    return [labels[i % len(labels)] for i in range(n)]
