"""The images themselves: whatever is wrong with them no training mends."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from unstir.data.dataset import ImageData
from unstir.doctor.finding import Finding
from unstir.doctor.patient import Patient

FEW = 1000
"""Training images under which a model is likely to repeat them."""
LOOKED_AT, COMPARED = 4000, 100_000
"""Images that are looked at, and that are compared with each other, at most."""
RARE = 0.05
"""The share of a class's usual number of images under which it is as good as missing."""
NEIGHBOURS = 5
COMPONENTS = 48


def check(patient: Patient) -> Iterator[Finding]:
    """Look at count, range, contrast, repetition, and at whether labels have to do with images."""
    train = patient.splits.train
    chosen = np.random.default_rng(0).permutation(len(train))[:LOOKED_AT]
    pixels = np.ascontiguousarray(train.pixels[chosen])
    yield from _count(len(train), train.name)
    yield from _range(pixels)
    yield from _contrast(pixels)
    yield from _repeated(train)
    yield from _colours(pixels)
    if train.labels is not None and "label" in patient.config.told:
        yield from _classes(train)
        yield from _labels(train, patient.splits.held_out)


def _count(count: int, name: str) -> Iterator[Finding]:
    if count < FEW:
        yield Finding(
            "few images",
            f"There are only {count:,} images to learn from.",
            f"{count:,} training images; a few thousand are a small set",
            "add images, or mirror them (--set data.flip=true) and train with dropout (--set network.dropout=0.1)",
            "the model would have to draw what it has not seen, and not repeat what it has",
            float(np.clip(0.9 - 0.3 * np.log10(max(count, 10) / 50), 0.2, 0.9)),
            {"images": count},
        )


def _range(pixels: np.ndarray) -> Iterator[Finding]:
    low, high = (float(value) for value in np.percentile(pixels, (0.1, 99.9)))
    if high - low < 64:
        yield Finding(
            "range",
            "The pixels use a small part of their range.",
            f"from {low:.0f} to {high:.0f} of 255, where photographs and drawings reach from about 0 to 255",
            "scale the images so that black is 0 and white is 255, and train again",
            "the network sees images of the contrast that its noise levels are made for",
            1.0,
            {"lowest": low, "highest": high},
        )


def _contrast(pixels: np.ndarray) -> Iterator[Finding]:
    flat = float((pixels.reshape(len(pixels), -1).std(1) < 2).mean())
    if flat > 0.05:
        yield Finding(
            "blank images",
            "Some images are of one colour.",
            f"{flat:.1%} have a standard deviation under 2 of 255; normal is none",
            "remove them from the data, and train again",
            "blank images would no longer be drawn",
            min(1.0, 0.3 + flat),
            {"blank": flat},
        )


def _repeated(train: ImageData) -> Iterator[Finding]:
    rows = train.pixels[:COMPARED]
    distinct = len({hashlib.blake2b(np.ascontiguousarray(row), digest_size=16).digest() for row in rows})
    share = 1 - distinct / len(rows)
    if share > 0.05:
        yield Finding(
            "duplicates",
            "Many images are in the set more than once.",
            f"{share:.0%} of {len(rows):,} are copies of another to the bit, {distinct:,} are distinct; "
            "normal is none",
            "remove the copies, and train again",
            "what is repeated is no longer learned by heart, and the other images are seen more often",
            float(np.clip(share + 0.1, 0, 0.95)),
            {"copies": share, "distinct": distinct},
        )


def _colours(pixels: np.ndarray) -> Iterator[Finding]:
    """Look for images whose red and blue are exchanged, by whether a set can be told from its mirror in colour."""
    if pixels.shape[1] != 3 or len(pixels) < 200:
        return
    means = pixels.reshape(len(pixels), 3, -1).astype(np.float64)
    together = [np.corrcoef(image)[0, 2] for image in means[:300] if image.std(1).min() > 2]
    if not together or np.median(together) < 0.3:
        return  # no photographs: any colour may be as frequent as any other
    accuracy = _told_from_exchanged(pixels)
    if accuracy < 0.56:
        yield Finding(
            "channel order",
            "Red and blue seem to be exchanged in a part of the images.",
            f"{accuracy:.0%} of images can be told from themselves with red and blue exchanged; of "
            "photographs in one order 65 % or more",
            "read all images in one order, red first, and train again",
            "skies are blue again",
            0.95,
            {"told": accuracy},
        )


def _told_from_exchanged(pixels: np.ndarray) -> float:
    """Return the share of images that a linear classifier tells from themselves with red and blue exchanged."""
    from sklearn.linear_model import LogisticRegression

    def features(x: np.ndarray) -> np.ndarray:
        height, width = x.shape[2] // 4 * 4, x.shape[3] // 4 * 4
        blocks = x[..., :height, :width].astype(np.float64) / 255
        blocks = blocks.reshape(len(x), 3, 4, height // 4, 4, width // 4).mean((3, 5))
        difference = (blocks[:, 0] - blocks[:, 2]).reshape(len(x), -1)
        red, green, blue = (blocks[:, channel].reshape(len(x), -1) for channel in range(3))
        return np.concatenate(
            [difference, difference * (green - green.mean(1, keepdims=True)), red * green - blue * green], 1
        )

    own, other = features(pixels), features(pixels[:, ::-1])
    half = len(pixels) // 2
    x = np.concatenate([own[:half], other[:half]])
    y = np.repeat([0, 1], half)
    scale = x.std(0) + 1e-9
    fit = LogisticRegression(max_iter=200, C=0.1).fit(x / scale, y)
    unseen = np.concatenate([own[half:], other[half:]])
    return float(fit.score(unseen / scale, np.repeat([0, 1], len(pixels) - half)))


def _classes(train: ImageData) -> Iterator[Finding]:
    counts = np.bincount(train.labels, minlength=train.num_classes)
    rare = np.flatnonzero(counts < RARE * counts.mean())
    if len(rare):
        names = ", ".join(train.classes[i] for i in rare[:5])
        yield Finding(
            "missing class",
            f"Of the class{'' if len(rare) == 1 else 'es'} {names} there is hardly an image.",
            f"at most {counts[rare].max()} training images; the others have "
            f"{np.delete(counts, rare).mean():,.0f} each",
            "add images of it, or leave the class out of the data, and train again",
            "what is drawn as it would be an image of it",
            0.6 + 0.3 * len(rare) / len(counts),
            {"missing": len(rare)},
        )


def _labels(train: ImageData, held_out: ImageData) -> Iterator[Finding]:
    accuracy, chance, count = label_accuracy(train, held_out)
    if np.isnan(accuracy):
        return
    error = (chance * (1 - chance) / count) ** 0.5
    if accuracy < chance + 3 * error:
        yield Finding(
            "labels",
            "The labels have nothing to do with the images.",
            f"{accuracy:.0%} of {count} held-out images are labelled as those that look most like them; "
            f"chance is {chance:.0%}",
            "check how labels are read and in which order, and train again; or train without (--set told={})",
            "an image that is asked for by its label would show it",
            0.97,
            {"accuracy": accuracy, "chance": chance},
        )


def label_accuracy(train: ImageData, held_out: ImageData) -> tuple[float, float, int]:
    """Return how often those that look most like a held-out image have its label, chance, and of how many."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KNeighborsClassifier

    random = np.random.default_rng(0)
    sets = []
    for data, count in ((train, LOOKED_AT), (held_out, 500)):
        chosen = random.permutation(len(data))[:count]
        assert data.labels is not None
        sets.append((data.pixels[chosen].reshape(len(chosen), -1) / 255.0, data.labels[chosen]))
    (x, y), (u, v) = sets
    if len(x) < 50 or len(u) < 30:
        return float("nan"), 0.0, len(u)
    components = PCA(min(COMPONENTS, x.shape[1], len(x)), svd_solver="randomized", random_state=0).fit(x)
    fit = KNeighborsClassifier(NEIGHBOURS).fit(components.transform(x), y)
    counts = np.bincount(y) / len(y)
    common = np.bincount(v, minlength=len(counts)) / len(v)
    chance = float(max((counts * common[: len(counts)]).sum(), 1 / max(1, train.num_classes)))
    return float(fit.score(components.transform(u), v)), chance, len(u)
