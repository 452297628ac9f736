"""Diffusion beside a variational autoencoder and a GAN, by the same data, minutes and parameters, in figures.

unstir train mnist --for 10m --set network.channels=[64,128] --set training.batch=64
unstir train mnist-vae --for 10m && unstir train mnist-gan --for 10m
python examples/gan_and_vae.py runs/mnist runs/mnist-vae runs/mnist-gan docs/gan-and-vae.png
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import unstir
from unstir.data.load import load as load_images
from unstir.evaluation.measure import measure
from unstir.files import whole_file
from unstir.models.samples import Samples
from unstir.training.run_folder import data_of

BATCH = 250
KINDS = {"denoiser": "diffusion", "vae": "VAE", "gan": "GAN"}


def timed(samples: Iterator[Samples], took: list[float]) -> Iterator[Samples]:
    """Pass samples on and note how long each batch took to draw."""
    while True:
        began = time.monotonic()
        part = next(samples, None)
        if part is None:
            return
        took.append(time.monotonic() - began)
        yield part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("figure", type=Path)
    parser.add_argument("-n", type=int, default=1000, help="how many images of each are measured")
    parser.add_argument("--data", help="where the runs' images are now")
    asked = parser.parse_args()

    splits = load_images(data_of(asked.runs[0], asked.data))
    labels = np.asarray(splits.held_out.labels)
    classes = len(splits.held_out.classes)
    first = [int(np.flatnonzero(labels == label)[0]) for label in range(classes)]
    real, _ = splits.held_out.examples(np.array(first))
    rows, names, lines = [real], ["real"], []
    for path in asked.runs:
        model = unstir.load(path)
        name = KINDS.get(model.config.kind, model.config.kind)
        model.sample(BATCH)  # compiles and measures what is kept from here on
        took: list[float] = []
        report = measure(timed(model.draw(range(asked.n), batch=BATCH), took), splits)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        evaluations = model.config.drawing({}).evaluations
        lines.append((name, parameters, evaluations, sum(took) / asked.n, report))
        rows.append(model.sample(2 * classes, seed=asked.n).tensor)
        names += [name, ""]
        if "decode" in model.config.verbs:
            rows.append(model.decode(model.encode(real, label=range(classes)), label=range(classes)))
            names.append(f"{name}: the real ones, encoded and decoded")

    print("| model | parameters | evaluations an image | seconds an image | FCD | accuracy | recall | classes |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, parameters, evaluations, seconds, found in lines:
        figures = (f"{found[key]:.3g}" if key in found else "" for key in ("fcd", "accuracy", "recall", "classes"))
        print(f"| {name} | {parameters:,} | {evaluations} | {seconds:.2g} | {' | '.join(figures)} |")
    found = lines[0][-1]
    best = (found["fcd_floor"], found["classifier_accuracy"], found["recall_ceiling"])
    print(f"| as many real images | | | | {' | '.join(f'{figure:.3g}' for figure in best)} | |")
    with whole_file(asked.figure) as partial:
        Samples(torch.cat(rows)).grid(classes).save(partial)
    print(f"\nThe figure is at {asked.figure}; its rows: {'; '.join(names)}")


if __name__ == "__main__":
    main()
