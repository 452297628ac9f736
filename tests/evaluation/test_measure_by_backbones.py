"""Figures by other backbones than the set's classifier, on images and a network that are small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unstir.data.dataset import ImageData, Splits
from unstir.errors import InputError
from unstir.evaluation import statistics
from unstir.evaluation.backbones.backbone import Seen
from unstir.evaluation.backbones.names import BackboneName
from unstir.evaluation.bootstrap import interval, weights
from unstir.evaluation.coverage import Surroundings
from unstir.evaluation.frechet import Statistics, distance, influences
from unstir.evaluation.inception_score import inception_scores
from unstir.evaluation.kernel import kernel_distances
from unstir.evaluation.measure import measure
from unstir.evaluation.metrics import OTHERS
from unstir.models.samples import Samples
from unstir.tensors import read_about

Figures = dict[str, float | int | str]


class Flat:
    """Reads the pixels of an image as its features, and some sums of them as the rest."""

    def __init__(self, name: str, key: str = "k") -> None:
        self.name, self.key, self.images = name, f"{name}-{key}", 0

    def read(self, images: Tensor) -> Seen:
        self.images += len(images)
        x = images.flatten(1).double()
        logits = torch.stack([(k + 1) * x[:, k::3].sum(1) for k in range(3)], dim=1)
        return Seen(x, logits.softmax(1), x[:, :5] * 2)


def pictures(count: int, seed: int, bright: float = 1.0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(128, 30 * bright, (count, 3, 2, 2)).round().clip(0, 255)
    return values.astype(np.uint8)


@pytest.fixture
def plain() -> Splits:
    """A set without labels: 200 images to train with and 90 held out."""
    return Splits(*(ImageData.from_array(pictures(n, seed)) for n, seed in ((200, 0), (90, 1))))


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Flat]]:
    """The backbones that were made, by name; and an empty cache."""
    made: dict[str, Flat] = {}

    def load(name: BackboneName) -> Flat:
        return made.setdefault(name.name, Flat(name.name))

    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path))
    monkeypatch.setattr("unstir.evaluation.measure.load", load)
    monkeypatch.setattr("unstir.evaluation.measure.ruler", lambda *_: pytest.fail("trained"))
    yield made


@pytest.fixture
def evaluated(plain: Splits, readers: dict[str, Flat]) -> Callable[..., Figures]:
    def evaluated(pixels: np.ndarray, *metrics: str, **options: object) -> Figures:
        samples = [Samples(torch.from_numpy(pixels) / 127.5 - 1)]
        return measure(samples, plain, metrics or tuple(OTHERS), progress=False, **options)  # type: ignore[arg-type]

    return evaluated


def flat(pixels: np.ndarray) -> np.ndarray:
    return (pixels / 127.5 - 1).reshape(len(pixels), -1).astype(np.float32).astype(np.float64)


def moments(features: np.ndarray) -> Statistics:
    return Statistics().add(features)


def test_each_figure_is_that_of_its_function(evaluated: Callable[..., Figures], plain: Splits) -> None:
    drawn = pictures(150, 2, 1.4)
    found = evaluated(drawn, *OTHERS, "recall")
    x, r = flat(drawn), flat(plain.held_out.pixels)
    rows = np.sort(np.random.default_rng(0).permutation(200)[:150])
    t = flat(plain.train.pixels[rows])
    logits = Flat("").read(torch.from_numpy(drawn) / 127.5 - 1).probabilities
    assert logits is not None
    close = {"rel": 1e-4, "abs": 1e-6}
    for name in ("fid", "fd"):
        assert found[name] == pytest.approx(distance(moments(x), moments(r)), **close)
        assert found[f"{name}_floor"] == pytest.approx(distance(moments(t), moments(r)), **close)
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]  # type: ignore[operator]
    assert found["sfid"] == pytest.approx(distance(moments(2 * x[:, :5]), moments(2 * r[:, :5])), **close)
    assert found["sfid_floor"] == pytest.approx(distance(moments(2 * t[:, :5]), moments(2 * r[:, :5])), **close)
    moved = influences(2 * x[:, :5], moments(2 * x[:, :5]), moments(2 * r[:, :5]))
    ends = interval(float(found["sfid"]), weights(150) @ moved / 150)
    assert (found["sfid_low"], found["sfid_high"]) == pytest.approx(ends, **close) and ends[0] > 0
    for name in ("kid", "kd"):
        assert found[name] == pytest.approx(kernel_distances(r, x, size=90).mean(), **close)
        assert found[f"{name}_floor"] == pytest.approx(kernel_distances(r, t, size=90).mean(), **close)
        assert "subsets are of 90 images" in str(found[f"{name}_warning"])
    assert found["is"] == pytest.approx(inception_scores(logits.numpy()).mean(), **close)
    names = ("precision", "recall", "density", "coverage")
    around_x, around_t = (Surroundings(r).of(z, names) for z in (x, t))
    for name in names:
        assert found[name] == pytest.approx(around_x[name].mean(), **close), name
        assert found[f"{name}_ceiling"] == pytest.approx(around_t[name].mean(), **close), name
        assert "90 images are few" in str(found[f"{name}_warning"])
    # Samples that are too varied are not precise, and recall what there is.
    assert found["precision"] < found["precision_ceiling"] - 0.2 and found["recall"] > 0.8  # type: ignore[operator]
    assert (found["samples"], found["reference_images"], found["samples_compared"]) == (150, 90, 150)
    assert found["backbone"] == "efficientnet-lite0"
    assert "classifier_accuracy" not in found and "confidence" not in found


def test_real_images_score_what_real_images_score(evaluated: Callable[..., Figures], plain: Splits) -> None:
    found = evaluated(plain.held_out.pixels, "fid", "sfid", "fd", "kd", "precision", "coverage", "recall")
    assert max(found["fid"], found["sfid"], found["fd"]) < 1e-6  # type: ignore[type-var]
    assert found["precision"] == found["coverage"] == found["recall"] == 1
    assert abs(found["kd"]) < 1e-2 < evaluated(255 - pictures(90, 1, 2), "kd")["kd"]  # type: ignore[arg-type, operator]


def test_planted_copies_are_found_beside_their_control(evaluated: Callable[..., Figures], plain: Splits) -> None:
    drawn = pictures(100, 3)
    assert evaluated(drawn, "memorization")["memorization"] <= 0.02  # type: ignore[operator]
    drawn[:40] = plain.train.pixels[100:140]
    drawn[40:60] = np.clip(plain.train.pixels[60:80].astype(int) + 1, 0, 255)
    found = evaluated(drawn, "memorization")
    assert found["memorization"] == pytest.approx(0.6, abs=0.02)
    assert found["memorization_low"] < 0.6 < found["memorization_high"]  # type: ignore[operator]
    assert found["memorization_control"] <= 0.02  # type: ignore[operator]
    assert found["memorization_ratio"] < 0.1 < 0.6 < found["memorization_control_ratio"]  # type: ignore[operator]


def test_a_stream_is_measured_as_one_batch(
    evaluated: Callable[..., Figures], plain: Splits, readers: dict[str, Flat]
) -> None:
    drawn = pictures(120, 4, 1.2)
    whole = evaluated(drawn, *OTHERS, "recall", among=70)
    order = np.random.default_rng(0).permutation(120)
    parts = (
        Samples(torch.from_numpy(drawn[rows]) / 127.5 - 1, indices=rows.tolist())
        for rows in np.array_split(order, 11)
    )
    streamed = measure(parts, plain, [*OTHERS, "recall"], progress=False, among=70)
    assert list(streamed) == list(whole) and whole["samples_compared"] == whole["reference_compared"] == 70
    for name, value in whole.items():
        assert streamed[name] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value), name


def test_a_floor_is_of_as_many_images_or_is_not(evaluated: Callable[..., Figures]) -> None:
    found = evaluated(pictures(300, 5), *OTHERS)
    for name in ("fid_floor", "sfid_floor", "fd_floor", "kd_floor", "is_ceiling", "precision_ceiling"):
        assert name not in found
        assert found[f"{name}_absent"].startswith("there are 200 training images for 300 samples")  # type: ignore[union-attr]
    assert "precision_ceiling" in evaluated(pictures(300, 5), "precision", among=150)


@pytest.mark.parametrize(
    ("count", "against", "there"), [(1, "held-out", 0), (2, "held-out", 5), (20, "held-out", 8), (1, "train", 8)]
)
def test_few_held_out_images_stop_nothing_and_say_no_more_than_they_know(
    count: int, against: str, there: int, plain: Splits, readers: dict[str, Flat]
) -> None:
    few = ImageData.from_array(plain.held_out.pixels[:count])
    samples = [Samples(torch.from_numpy(pictures(30, 2)) / 127.5 - 1)]
    splits = Splits(plain.train, few)
    found = measure(samples, splits, [*OTHERS, "recall"], progress=False, against=against)
    compared = [
        name for name in ("fid", "sfid", "fd", "kid", "kd", "precision", "density", "coverage") if name in found
    ]
    assert len(compared) == there
    for name in compared:
        lies = (f"{name}_low" in found, "few: the figure depends on which" in str(found.get(f"{name}_warning")))
        assert lies == ((False, True) if against == "held-out" else (True, False)), name
        beside = f"{name}_floor" if name.endswith("d") else f"{name}_ceiling"
        assert (beside in found) == (against == "held-out")  # 200 training images are enough for 30 samples
    assert "memorization" in found and "memorization_control_low" not in found
    assert all(value == value for value in found.values())  # none is NaN


def test_too_few_images_are_said_to_be(evaluated: Callable[..., Figures]) -> None:
    found = evaluated(pictures(5, 6), *OTHERS, "recall")
    assert "5 samples are no more than the 12 features" in str(found["fid_warning"])
    assert "5 samples are no more than the 5 features" in str(found["sfid_warning"])
    assert found["is_absent"] == "5 samples cannot be cut into 10 parts"
    assert "fd_warning" not in evaluated(pictures(13, 6), "fd")
    assert evaluated(pictures(3, 6), "recall")["recall_absent"] == "3 samples are too few; 4 is the least"


TWO = """
import json, sys
import torch
from unstir.evaluation import measure as module
from unstir.models.samples import Samples
from unstir.processes import processes
sys.path.insert(0, sys.argv[1])
from test_measure_by_backbones import Flat, ImageData, OTHERS, Splits, pictures

module.load = lambda name: Flat(name.name)
splits = Splits(*(ImageData.from_array(pictures(n, seed)) for n, seed in ((200, 0), (90, 1))))
place, drawn = processes(), torch.from_numpy(pictures(120, 4, 1.2)) / 127.5 - 1
rows = range(120)[place.process_index :: place.num_processes]
parts = (Samples(drawn[rows[i : i + 25]], indices=list(rows[i : i + 25])) for i in range(0, len(rows), 25))
found = module.measure(parts, splits, [*OTHERS, "recall"], progress=False, among=70)
again = module.measure([Samples(drawn[rows], indices=list(rows))], splits, [*OTHERS, "recall"], False, among=70)
assert found.keys() == again.keys() and abs(found["fid"] - again["fid"]) < 1e-6  # by the cache
if place.is_main_process:
    print(json.dumps(found))
"""


@pytest.mark.slow
def test_two_processes_measure_what_one_does(tmp_path: Path) -> None:
    found, script = [], tmp_path / "two.py"
    script.write_text(TWO)
    for count in (1, 2):
        environment = os.environ | {"UNSTIR_CACHE": str(tmp_path / str(count)), "OMP_NUM_THREADS": "1"}
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
        line = [*launcher, str(script), str(Path(__file__).parent)]
        done = subprocess.run(line, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert found[1][name] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value), name


@pytest.mark.parametrize(("training", "held_out", "drawn"), [(20, 1, 7), (1, 1, 2), (2, 2, 2), (5, 5, 2)])
def test_of_the_smallest_sets_each_metric_says_what_is_missing(
    training: int, held_out: int, drawn: int, readers: object
) -> None:
    splits = Splits(*(ImageData.from_array(pictures(n, n)) for n in (training, held_out)))
    samples = [Samples(torch.from_numpy(pictures(drawn, 9)) / 127.5 - 1)]
    found = measure(samples, splits, [*OTHERS, "recall"], progress=False)
    for name in (*OTHERS, "recall"):
        assert (name in found) != (f"{name}_absent" in found)
    assert ("fid" in found) == (held_out > 1) and ("memorization" in found) == (training > 1)


# Against training images


def test_against_training_images_the_held_out_ones_are_what_real_images_score(
    evaluated: Callable[..., Figures], plain: Splits, tmp_path: Path
) -> None:
    drawn, names = pictures(90, 2, 1.4), ("fd", "sfid", "kd", "precision", "recall", "coverage", "memorization")
    found = evaluated(drawn, *names, against="train")
    assert (found["against"], found["reference_images"], found["reference_compared"]) == ("train", 200, 200)
    x, t, h = flat(drawn), flat(plain.train.pixels), flat(plain.held_out.pixels)
    close = {"rel": 1e-4, "abs": 1e-6}
    assert found["fd"] == pytest.approx(distance(moments(x), moments(t)), **close)
    assert found["fd_floor"] == pytest.approx(distance(moments(h), moments(t)), **close)
    assert found["sfid_floor"] == pytest.approx(distance(moments(2 * h[:, :5]), moments(2 * t[:, :5])), **close)
    assert found["kd_floor"] == pytest.approx(kernel_distances(t, h, size=90).mean(), **close)
    around_x, around_h = (Surroundings(t).of(z, ["precision", "recall", "coverage"]) for z in (x, h))
    for name in around_x:
        assert found[name] == pytest.approx(around_x[name].mean(), **close), name
        assert found[f"{name}_ceiling"] == pytest.approx(around_h[name].mean(), **close), name
    # Copies are of training images whatever the reference is.
    usual = evaluated(drawn, *names)
    assert usual["against"] == "held-out" and usual["fd"] != pytest.approx(found["fd"], **close)
    assert [v for k, v in usual.items() if "memor" in k] == [v for k, v in found.items() if "memor" in k]
    images = {read_about(place).told["images of"] for place in (tmp_path / "statistics").iterdir()}
    assert images == {"held-out images of array", "training images of array"}
    many = evaluated(pictures(150, 2), "fd", "kd", "precision", against="train")
    for name in ("fd_floor", "kd_floor", "precision_ceiling"):
        assert many[f"{name}_absent"].startswith("there are 90 held-out images for 150 samples")  # type: ignore[union-attr]
    with pytest.raises(InputError, match="against held-out or train images, not 'trian'; did you mean 'train'"):
        evaluated(drawn, "fd", against="trian")


def test_training_images_are_at_no_distance_from_themselves_alone(
    evaluated: Callable[..., Figures], plain: Splits
) -> None:
    found = [evaluated(plain.train.pixels, "fd", "precision", against=name) for name in ("train", "held-out")]
    assert found[0]["fd"] < 1e-6 < 0.05 < found[1]["fd"]  # type: ignore[operator]
    assert found[0]["precision"] == 1 > found[1]["precision"]  # type: ignore[operator]


# What is kept


def test_a_set_is_read_once_for_one_backbone(
    evaluated: Callable[..., Figures], plain: Splits, readers: dict[str, Flat], tmp_path: Path
) -> None:
    drawn = pictures(150, 2)
    first = evaluated(drawn, "sfid", "fd")
    made = readers["efficientnet-lite0"]
    assert readers["inception"].images == 150 + 90 + 150
    assert made.images == 150 + 90 + 150
    assert evaluated(drawn, "sfid", "fd") == first
    assert readers["inception"].images == 2 * 150 + 90 + 150  # only the samples
    for reader in readers.values():
        reader.images = 0
    own, made.key = made.key, "other"  # other weights, or another way to make images ready
    assert {**evaluated(drawn, "fd"), "backbone_key": own} == {k: v for k, v in first.items() if "sfid" not in k}
    assert made.images == 150 + 90 + 150
    assert len([*(tmp_path / "statistics").iterdir()]) == 2 + 4


def test_features_of_real_images_are_read_once(
    evaluated: Callable[..., Figures], plain: Splits, readers: dict[str, Flat], tmp_path: Path
) -> None:
    drawn, names = pictures(80, 3), ("memorization", "precision", "kd", "fd")
    first = evaluated(drawn, *names)
    made = readers["efficientnet-lite0"]
    assert made.images == 80 + 90 + 200  # what real images score is of those in which copies were sought
    assert evaluated(drawn, *names) == first and made.images == 2 * 80 + 90 + 200
    assert evaluated(drawn, *names, against="train")["fd"] != first["fd"]
    assert made.images == 3 * 80 + 90 + 200
    # Neither of other images nor by another backbone.
    made.images = 0
    other = Splits(ImageData.from_array(pictures(201, 7)), plain.held_out)
    samples = [Samples(torch.from_numpy(drawn) / 127.5 - 1)]
    assert measure(samples, other, ["memorization"], progress=False) != first and made.images == 80 + 201
    made.images, made.key = 0, "other"
    again = evaluated(drawn, *names)
    assert made.images == 80 + 90 + 200 and {**again, "backbone_key": first["backbone_key"]} == first
    # What is damaged is read again.
    for place in (tmp_path / "features").iterdir():
        place.write_bytes(place.read_bytes()[:-1])
    made.images = 0
    assert evaluated(drawn, *names) == again and made.images == 80 + 90 + 200


def test_another_number_of_images_or_another_preprocessing_is_refused(plain: Splits, readers: object) -> None:
    held_out, backbone = plain.held_out, Flat("inception")
    found = moments(flat(held_out.pixels))
    with pytest.raises(InputError, match="statistics of 90 images are not those of 80"):
        statistics.keep(found, held_out, backbone, 80, "moments")
    statistics.keep(found, held_out, backbone, 90, "moments")
    kept = statistics.kept(held_out, backbone, 90, "moments")
    assert kept is not None and kept.count == 90
    assert (kept.mean == found.mean).all() and (kept.squares == found.squares).all()
    assert statistics.kept(held_out, backbone, 80, "moments") is None
    assert statistics.kept(held_out, backbone, 90, "spatial") is None
    assert statistics.kept(plain.train, backbone, 90, "moments") is None
    path, other = (statistics._path(held_out, Flat("inception", key), 90, "moments") for key in ("k", "j"))
    path.rename(other)
    with pytest.raises(InputError, match="holds statistics of key inception-k and not of inception-j: remove"):
        statistics.kept(held_out, Flat("inception", "j"), 90, "moments")
    other.write_bytes(other.read_bytes()[:-8])
    assert statistics.kept(held_out, Flat("inception", "j"), 90, "moments") is None  # damaged: it is made again


# What is wrong


def test_wrong_backbones_are_told_before_anything_is_read(
    evaluated: Callable[..., Figures], plain: Splits
) -> None:
    with pytest.raises(InputError, match="did you mean 'inception'"):
        evaluated(pictures(9, 0), "fd", backbone="incepton")
    with pytest.raises(InputError, match="has no labels, and fd need a labelled set"):
        evaluated(pictures(9, 0), "fd", backbone="classifier")
    two = Splits(*(ImageData.from_array(np.zeros((9, 2, 2, 2), dtype=np.uint8)) for _ in range(2)))
    with pytest.raises(InputError, match="of 1, 3 or 4 channels, and these have 2"):
        measure([Samples(torch.zeros(4, 2, 2, 2))], two, ["fid"], progress=False)
