"""``unstir sample``: draws images from a run and saves them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from unstir.cli import options
from unstir.cli.places import check_pictures, default_place
from unstir.cli.report import Report
from unstir.cli.room import check_drawing
from unstir.cli.steering import steered
from unstir.errors import InputError


@options.with_drawing
def sample(
    run: options.RunPath,
    n: Annotated[int, typer.Option("-n", metavar="N", min=1, max=10**12, help="How many images.")] = 64,
    label: options.Label = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="What is to be seen, for a model that is told captions; may be given many times, in turn.",
            show_default="no text",
        ),
    ] = None,
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
    as_json: options.Json = False,
) -> None:
    """Draw images from a run and save them, under torchrun by all its processes."""
    from unstir.models.config import label_indices, prompt_list
    from unstir.models.encoders import check_encoder
    from unstir.models.file import read_config

    _, config = read_config(run)
    config.require("draw")
    steering = steered(config, asked, classifier, scale, weaker)
    if out is None:
        out = str(default_place(run, f"samples/sample-seed{seed}.png"))
    else:
        out = check_pictures(out, config.samples.shape[0])
    check_drawing(n, config.samples.shape, 0 if label else len(steering.classes), out, batch)
    labels = split_labels(label, steering.classes, n)
    label_indices(steering.classes, labels, range(n))
    prompts = prompt_list(config.texts, prompt)
    if len(prompts) > n:
        raise InputError(f"{len(prompts)} prompts were given, and -n asks for {n} images; ask for more")
    if not prompts:
        config.hideable("Drawing without a prompt", config.texts)
    for name, one in config.texts.items() if prompts else ():
        check_encoder(name, one)
    report = Report(as_json)
    if config.texts and not prompts:
        report.say("Drawn without a prompt: --prompt 'a text' says what is to be seen")

    from unstir.models.file import load
    from unstir.models.samples import Samples, write
    from unstir.processes import processes, rounds

    place = processes()
    share = range(n)[place.process_index :: place.num_processes]
    how = asked | steering.arguments()
    drawn = load(run).draw(
        share, label=labels, prompt=prompt, seed=seed, batch=batch, progress=place.is_main_process, **how
    )
    together = map(Samples.joined, rounds(drawn))
    if place.is_main_process:
        out = f"{write(together, out, n, new=True)}{'/' if out.endswith('/') else ''}"
    else:
        for _ in together:
            pass
    values = {
        "run": str(run),
        "out": out,
        "n": n,
        "seed": seed,
        "labels": label_indices(steering.classes, labels, range(n)),
        **({"prompts": list(prompts)} if config.texts else {}),
        "sampling": steering.settings.model_dump(mode="json"),
        **steering.values(),
    }
    report.end(f"{n} image{' is' if n == 1 else 's are'} in {out}", values)


def split_labels(text: str | None, classes: tuple[str, ...], n: int) -> list[str] | None:
    """Return one label for each of ``n`` images: those with commas between them in turn.

    Raises:
        InputError: For more labels than images, or an empty one.
    """
    if text is None:
        return None
    labels = [text] if text in classes else [part.strip() for part in text.split(",")]
    if not all(labels):
        raise InputError(f"--label takes a class or several with commas between them, not '{text}'")
    if len(labels) > n:
        raise InputError(f"--label names {len(labels)} classes, and -n asks for {n} images; ask for more")
    return [labels[i % len(labels)] for i in range(n)]
