"""The set of scenes, made into the cache as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unstir.data.config import DataConfig
from unstir.data.load import load
from unstir.data.shapes import caption, contents, render, scene
from unstir.data.sources import DATASETS, find, source_of
from unstir.errors import InputError


@pytest.fixture(autouse=True)
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of this test's own, and fewer scenes."""
    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path))
    monkeypatch.setattr(contents, "TRAIN", 60)
    monkeypatch.setattr(contents, "HELD_OUT", 20)


def test_pictures_go_with_what_is_in_them() -> None:
    splits = load(DataConfig(source="shapes"))
    assert splits.train.shape == (3, 64, 64) and splits.train.name == "shapes" and not splits.note
    for part, count, held_out in ((splits.train, 60, False), (splits.held_out, 20, True)):
        assert len(part) == count
        _, told = part.examples(np.arange(count))
        for i in range(count):
            one = scene(i, held_out=held_out)
            first = one.shapes[0]
            assert (part.pixels[i] == render(one, 64)).all()
            assert told["caption"][i] == caption(one, i)
            assert float(told["angle"][i]) == first.angle
            named = {
                name: part.columns[name].classes[int(told[name][i])]
                for name in ("label", "colour", "size", "place", "texture", "background", "count")
            }
            assert named == {
                "label": first.kind,
                "colour": first.colour,
                "size": first.size,
                "place": first.place,
                "texture": first.texture,
                "background": one.background,
                "count": str(len(one.shapes)),
            }


def test_any_size_is_drawn_and_not_resized() -> None:
    splits = load(DataConfig(source="shapes", size=100))  # type: ignore[arg-type]
    assert (splits.train.pixels[3] == render(scene(3), 100)).all()


def test_another_generator_makes_the_set_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    before = find("shapes").identity()
    monkeypatch.setattr(contents, "VERSION", contents.VERSION + 1)
    assert find("shapes").identity() != before


def test_it_is_known_by_its_name() -> None:
    known = DATASETS["shapes"]
    assert known.images == (30_000, 3_000) and known.generated and find("shapes").kind == "generated"
    assert not any(other.generated for name, other in DATASETS.items() if name != "shapes")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"size": 31}, "32 to 1024 pixels, not 31x31"),
        ({"size": 1025}, "32 to 1024 pixels, not 1025x1025"),
        ({"size": (64, 48)}, "not 48x64"),
        ({"flip": True}, "data.flip=false"),
    ],
)
def test_other_shapes_are_refused_at_once(asked: dict[str, object], told: str) -> None:
    config = DataConfig.model_validate({"source": "shapes", **asked})
    for attempt in (source_of, load):
        with pytest.raises(InputError, match=told):
            attempt(config)
    assert source_of(config.model_copy(update={"source": "digits"})).name == "digits"
