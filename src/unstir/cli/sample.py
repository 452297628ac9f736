"""``unstir sample``: draws images from a run and saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unstir.cli import options
from unstir.cli.places import check_pictures, default_place, unused
from unstir.cli.report import Report
from unstir.errors import InputError


def sample(
    run: options.RunPath,
    n: Annotated[int, typer.Option("-n", metavar="N", min=1, help="How many images.")] = 64,
    sampler: options.Sampler = None,
    steps: options.Steps = None,
    spacing: options.Spacing = None,
    eta: options.Eta = None,
    variance: options.Variance = None,
    order: options.Order = None,
    churn: options.Churn = None,
    churn_min: options.ChurnMin = None,
    churn_max: options.ChurnMax = None,
    churn_noise: options.ChurnNoise = None,
    schedule: options.Schedule = None,
    epsilon: options.Epsilon = None,
    updates: options.Updates = None,
    snr: options.Snr = None,
    predictor: options.Predictor = None,
    label: options.Label = None,
    guidance: options.Guidance = None,
    clip: options.Clip = None,
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
    """Draw images from a run and save them."""
    asked = options.sampling_values(locals())

    from unstir.training.folder import model_file
    from unstir.training.request import check_draws, label_indices, sampling_config

    _, config = model_file(run)
    check_draws(config)
    sampling = sampling_config(config, asked)
    labels = split_labels(label, config.classes, n)
    label_indices(config.classes, labels, n)
    assert config.images is not None
    if out is None:
        out = str(default_place(run, f"samples/sample-seed{seed}.png"))
    else:
        out = check_pictures(out, config.images.shape[0])

    from unstir.training.run import load

    images = load(run).sample(n, label=labels, seed=seed, batch=batch, progress=True, **asked)
    out = f"{unused(Path(out))}{'/' if out.endswith('/') else ''}"
    images.save(out)
    values = {
        "run": str(run),
        "out": out,
        "n": n,
        "seed": seed,
        "labels": None if images.labels is None else images.labels.tolist(),
        "sampling": sampling.model_dump(mode="json"),
    }
    Report(as_json).end(f"{n} image{' is' if n == 1 else 's are'} in {out}", values)


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
