"""Accuracy against diversity: guidance without a classifier and by one, and a classifier followed alone.

unstir train mnist --images 45000 --set network.channels=[64,128] --set training.batch=64
unstir train mnist --images 45000 --set network.channels=[64,128] --set training.batch=64 \
    --set told={} --out runs/mnist-untold
unstir train mnist-classifier --images 40000
python examples/guidance.py runs/mnist runs/mnist-untold runs/mnist-classifier docs/guidance.png
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import unstir
from unstir.data.load import load as load_images
from unstir.diffusion import NoiseLevel
from unstir.evaluation.measure import measure
from unstir.evaluation.ruler import ruler
from unstir.files import whole_file
from unstir.models.classifier import Classifier
from unstir.models.samples import Samples
from unstir.sampling.draw import Guide
from unstir.sampling.guidance import by_classifier
from unstir.training.run_folder import data_of

BATCH = 250
FREE = (0.0, 0.5, 1.0, 2.0, 4.0)
LIMITED = {"guidance_min": 0.3, "guidance_max": 3.0}
SCALES = (1.0, 2.0, 4.0, 8.0)
SHOWN = 20
"""Samples of each way that the picture shows."""


def by_clean(reader: Classifier, s: float) -> Guide:
    """Return a guide by a classifier of clean images, towards the classes in turn: what not to do."""

    def log_probability(x: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
        said = reader.head(reader.features(x)).float().log_softmax(1)
        return said.gather(1, torch.arange(len(x))[:, None] % said.shape[1])[:, 0]

    return lambda denoise: by_classifier(denoise, log_probability, s)


def climbed(classifier: torch.nn.Module, shape: tuple[int, ...], labels: torch.Tensor) -> torch.Tensor:
    """Return images to which the classifier alone leads by its gradient, from faint noise."""
    clean = NoiseLevel(0.0, 1.0, 0.0)
    x = 0.1 * torch.randn(len(labels), *shape, generator=torch.Generator().manual_seed(0)) - 0.9
    for _ in range(50):
        x = x.requires_grad_()
        each = NoiseLevel(*(value.expand(len(x)) for value in (clean.t, clean.alpha, clean.sigma)))
        chosen = classifier.log_probabilities(x, each).gather(1, labels[:, None]).sum()
        (slope,) = torch.autograd.grad(chosen, x)
        x = (x + 0.5 * slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1).clamp(min=1e-9)).detach()
    return x.clamp(-1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("run", "untold", "classifier", "figure"):
        parser.add_argument(name, type=Path)
    parser.add_argument(
        "-n", type=int, default=1000, help="how many images of each way are measured, a multiple of 10"
    )
    parser.add_argument("--data", help="where the runs' images are now")
    asked = parser.parse_args()

    splits = load_images(data_of(asked.run, asked.data))
    told, untold, classifier = (unstir.load(path) for path in (asked.run, asked.untold, asked.classifier))
    ways = [("free", f"classifier-free, w = {w:g}", told, {"guidance": w}) for w in FREE]
    ways.append(("", "w = 4, where sigma / alpha is 0.3 to 3", told, {"guidance": 4.0, **LIMITED}))
    for sampler in ("ddim", "ddpm"):
        for s in SCALES:
            how = {"classifier": classifier, "scale": s, "sampler": sampler, "guidance": None}
            ways.append((sampler, f"classifier, {sampler}, s = {s:g}", untold, how))
    reader = ruler(splits)
    ways.append(
        ("", "a clean classifier, ddim, s = 4", untold, {"guide": by_clean(reader, 4.0), "sampler": "ddim"})
    )
    lines, curves, shown = [], {}, []
    for curve, name, model, how in ways:
        drawn = list(model.draw(range(asked.n), batch=BATCH, **how))
        if drawn[0].labels is None:
            drawn = [replace(part, labels=torch.arange(len(part)) % len(splits.train.classes)) for part in drawn]
        found = measure(drawn, splits, ("fcd", "accuracy", "recall"))
        whole = Samples.joined(drawn)
        spread = float(reader.read(whole.tensor)[0].var(0).sum())
        guide = float((classifier.classify(whole.tensor).argmax(1) == whole.labels).double().mean())
        lines.append((name, found, spread, guide))
        curves.setdefault(curve, []).append((found["accuracy"], found["recall"], name.rpartition("= ")[2]))
        shown.append(whole.tensor[:SHOWN])
        print(f"{name}: accuracy {found['accuracy']:.3f}, recall {found['recall']:.3f}", flush=True)
    held = splits.held_out.examples(np.arange(asked.n))[0]
    real = float(reader.read(held)[0].var(0).sum())
    labels = torch.arange(asked.n) % len(splits.held_out.classes)
    alone = climbed(classifier, tuple(untold.config.samples.shape), labels)
    fooled = [float((one.classify(alone).argmax(1) == labels).double().mean()) for one in (classifier, reader)]
    shown.append(alone[:SHOWN])

    print("\n| guidance | accuracy | FCD | recall | spread of features | read as its label by the guide |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, found, spread, guide in lines:
        figures = f"{found['accuracy']:.1%} | {found['fcd']:.3g} | {found['recall']:.2f} | {spread / real:.2f}"
        print(f"| {name} | {figures} | {guide:.1%} |")
    print(f"| the classifier's gradient alone | {fooled[1]:.1%} | | | | {fooled[0]:.1%} |")
    best = f"{found['classifier_accuracy']:.1%} | {found['fcd_floor']:.3g} | {found['recall_ceiling']:.2f} | 1"
    print(f"| as many real images | {best} | |")

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    names = {"free": "classifier-free, w", "ddim": "classifier, ddim, s", "ddpm": "classifier, ddpm, s"}
    for curve, label in names.items():
        accuracy, recall, scales = zip(*curves[curve])
        axes.plot(recall, accuracy, marker="o", label=label)
        beside = {"free": (-3, 6), "ddim": (-12, -3), "ddpm": (6, -3)}[curve]
        for x, y, text in zip(recall, accuracy, scales):
            axes.annotate(text, (x, y), textcoords="offset points", xytext=beside, fontsize=8)
    axes.set(xlabel="diversity: recall", ylabel="accuracy: read as the label asked for")
    axes.legend()
    with whole_file(asked.figure) as partial:
        figure.savefig(partial, format="png", dpi=120)
    picture = asked.figure.with_stem(f"{asked.figure.stem}-samples")
    with whole_file(picture) as partial:
        Samples(torch.cat(shown)).grid(SHOWN).save(partial, format="png")
    print(f"\nThe curves are at {asked.figure}, and samples at {picture}, a row for each line of the table")


if __name__ == "__main__":
    main()
