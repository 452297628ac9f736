from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.metrics_see import METRICS, shares, table

from unstir.data.dataset import ImageData, Splits
from unstir.errors import InputError
from unstir.evaluation.measure import measure
from unstir.models.samples import Samples


@pytest.fixture
def splits() -> Splits:
    """Images of four classes, in the order of these, as some sets are."""
    parts = []
    for seed, count in ((0, 400), (1, 100)):
        pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, 4, 4), dtype=np.uint8)
        parts.append(ImageData.from_array(pixels, np.sort(np.arange(count) % 4), tuple("abcd")))
    return Splits(*parts)


def seen(pixels: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in pixels}


def test_samples_are_apart_from_what_they_are_measured_against(splits: Splits) -> None:
    real, samples = shares(splits, 20, 50, 100)
    assert (len(real.train), len(real.held_out)) == (100, 50) and len(np.unique(real.train.labels)) == 4
    known = seen(real.train.pixels) | seen(real.held_out.pixels)
    shared = {way: len(seen(pixels) & known) for way, pixels in samples.items()}
    assert shared.pop("half of them copies") == 10 and set(shared.values()) == {0}
    assert all(len(seen(pixels)) == 20 for pixels in samples.values())
    alone = seen(samples["one class only"])
    assert alone <= seen(splits.train.pixels[:100])  # the first of the four classes
    with pytest.raises(InputError, match="too few images for -n 20"):
        shares(splits, 20, 90, 100)


def test_the_table_says_what_each_metric_saw(
    splits: Splits, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path))
    real, samples = shares(splits, 20, 50, 100)
    figures = {}
    for way in ("as they are", "half of them copies"):
        drawn = [Samples(torch.tensor(samples[way]) / 127.5 - 1)]
        figures[way] = measure(drawn, real, METRICS, progress=False, backbone="pixels")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(figures)]
    assert [line[0] for line in lines] == ["", "---", *figures, "real images"]
    assert [line[-1].split()[0] for line in lines[2:]] == ["0", "0.5", "0"]
