from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("UNSTIR_CACHE", str(folder))
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """Write small distinct colour PNGs under the given names; returns their folder."""

    def write(*names: str, size: tuple[int, int] = (6, 5), seed: int = 0) -> Path:
        random = np.random.default_rng(seed)
        for name in names:
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
        return tmp_path / "photos"

    return write
