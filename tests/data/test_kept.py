"""What the cache holds is found again for what asks for the same pixels, and for nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from unstir.data import kept
from unstir.data.config import DataConfig
from unstir.data.load import load
from unstir.data.sources import find


def test_what_changes_pixels_has_an_entry_of_its_own(photos: Callable[..., Path]) -> None:
    config = DataConfig(source=str(photos("a.png")), size=(8, 8))
    source = find(config.source)
    changes: list[dict[str, object]] = [{}, {"size": (8, 9)}, {"fit": "pad"}, {"channels": 3}, {"ground": "black"}]
    places = {kept.place(source, config.model_copy(update=change)) for change in changes}
    assert len(places) == len(changes)
    assert kept.place(source, config.model_copy(update={"flip": True, "augment": 0.5})) in places


def test_what_needs_no_fetching_is_at_hand(photos: Callable[..., Path]) -> None:
    here, far = (DataConfig(source=name) for name in (str(photos("a.png", "b.png")), "mnist"))
    assert kept.at_hand(here) and kept.at_hand(DataConfig(source="digits"))
    assert not kept.at_hand(far) and not kept.at_hand(DataConfig(source="shapes"))
    load(here)
    entry = kept.place(find("mnist"), far)
    shutil.copytree(kept.place(find(here.source), here), entry)
    assert kept.at_hand(far) and not kept.at_hand(DataConfig(source="mnist", size=(8, 8)))
    (entry / "pixels").write_bytes(b"")
    assert not kept.at_hand(far)
