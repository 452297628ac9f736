"""What is counted of pictures of scenes, and how well the reader reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unstir.data.shapes import Scene, Shape, caption, render, scene
from unstir.errors import InputError
from unstir.evaluation import scenes as module
from unstir.evaluation.scenes import ATTRIBUTES, Rightness, measure_attributes, reader_config, train_reader, truth
from unstir.models.file import load

FIRST = Shape("circle", "red", "large", "plain", "top left", 0)
SECOND = Shape("star", "blue", "small", "striped", "bottom right", 0)
TEXT = "a large plain red circle top left and a small striped blue star bottom right on a white background"


def shares(shown: Scene, text: str = TEXT) -> dict[str, float]:
    rightness = Rightness()
    rightness.add(truth([shown]), [text])
    return rightness.shares()


def test_a_scene_shows_all_that_its_caption_states() -> None:
    for held_out in (False, True):
        scenes = [scene(i, held_out=held_out) for i in range(500)]
        rightness = Rightness()
        rightness.add(truth(scenes), [caption(one, i) for i, one in enumerate(scenes)])
        assert rightness.shares() == dict.fromkeys([*ATTRIBUTES, "attributes", "whole"], 1.0)
        shapes = sum(len(one.shapes) for one in scenes)
        assert rightness.stated["kind"] == rightness.stated["place"] == shapes
        assert rightness.stated["count"] == rightness.pictures == 500
        assert abs(rightness.stated["size"] / shapes - 0.75) < 0.06


def test_another_scene_shows_what_they_share() -> None:
    asked = Scene((FIRST, SECOND), "white")
    assert set(shares(asked).values()) == {1.0}
    right = dict.fromkeys([*ATTRIBUTES, "attributes", "whole"], 1.0)
    # Of 12 statements (two shapes' five each, the count and the background) one is wrong.
    for changed, name, share in (
        (Scene((replace(FIRST, colour="green"), SECOND), "white"), "colour", 0.5),
        (Scene((FIRST, replace(SECOND, kind="heart")), "white"), "kind", 0.5),
        (Scene((FIRST, replace(SECOND, size="large")), "white"), "size", 0.5),
        (Scene((replace(FIRST, texture="checkered"), SECOND), "white"), "texture", 0.5),
        (Scene((FIRST, SECOND), "black"), "background", 0.0),
        (Scene((FIRST, SECOND, replace(FIRST, place="top right")), "white"), "count", 0.0),
    ):
        assert shares(changed) == {**right, name: share, "attributes": 11 / 12, "whole": 0.0}
    # Where a shape is missing, nothing that was said of it is right, nor the count.
    half = dict.fromkeys(("place", "kind", "colour", "size", "texture"), 0.5)
    missing = {**half, "count": 0.0, "background": 1.0, "attributes": 6 / 12, "whole": 0.0}
    assert shares(Scene((SECOND,), "white")) == missing
    # Elsewhere it is missing where it was to be, but they are as many.
    moved = Scene((replace(FIRST, place="bottom left"), SECOND), "white")
    assert shares(moved) == {**missing, "count": 1.0, "attributes": 7 / 12}


def test_what_a_caption_leaves_open_counts_nowhere() -> None:
    other = Scene((replace(FIRST, size="small", texture="striped"),), "gray")
    assert shares(other, "a red circle top left") == dict.fromkeys(
        ("count", "place", "kind", "colour", "attributes", "whole"), 1.0
    )


def test_parts_add_up() -> None:
    scenes = [scene(i) for i in range(60)]
    texts = [caption(scene(i + i % 2), i) for i in range(60)]
    whole, first, second = Rightness(), Rightness(), Rightness()
    whole.add(truth(scenes), texts)
    first.add(truth(scenes[:20]), texts[:20])
    second.add(truth(scenes[20:]), texts[20:])
    first.merge(second)
    assert first == whole and 0.5 <= whole.shares()["whole"] < 0.6


def test_images_are_read_and_wrong_input_is_told_before(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = [scene(i) for i in range(6)]
    images = torch.rand(6, 3, 40, 40)

    class Perfect:
        def read(self, given: Tensor) -> Tensor:
            assert given is images
            return truth(scenes)

    monkeypatch.setattr(module, "scene_reader", Perfect)
    assert measure_attributes(images, [caption(one, 3) for one in scenes])["whole"] == 1
    assert measure_attributes(images, [caption(one, 3) for one in scenes[::-1]])["whole"] < 1
    monkeypatch.setattr(module, "scene_reader", lambda: pytest.fail("read"))
    with pytest.raises(InputError, match="6 images and 1 caption"):
        measure_attributes(images, [TEXT])
    with pytest.raises(InputError, match="0 images and 0 captions"):
        measure_attributes(images[:0], [])
    with pytest.raises(InputError, match="the word 'cat'"):
        measure_attributes(images[:1], ["a cat"])


def test_the_reader_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path))
    config = reader_config()
    small = config.training.model_copy(update={"images": 64, "batch": 32})
    monkeypatch.setattr(module, "reader_config", lambda: config.model_copy(update={"training": small}))
    monkeypatch.setattr(module, "TRAINED", 90)
    first, second = module.scene_reader(), module.scene_reader()
    (path,) = tmp_path.rglob("*.safetensors")
    assert path.parent.name == "classifiers"
    x = torch.rand(4, 3, 64, 64) * 2 - 1
    assert torch.equal(first.read(x), second.read(x)) and first.read(x).shape == truth([scene(0)] * 4).shape


@pytest.mark.slow
def test_all_is_read_in_clean_scenes(tmp_path: Path) -> None:
    train_reader(tmp_path / "reader.safetensors")
    reader = load(tmp_path / "reader.safetensors")
    for size, held_out in ((32, False), (32, True), (64, False), (64, True)):
        scenes = [scene(i, held_out=held_out) for i in range(2000)]
        x = torch.from_numpy(np.stack([render(one, size) for one in scenes])) / 127.5 - 1
        read, true = reader.read(x), truth(scenes)  # type: ignore[operator]
        for number in range(true.shape[1]):
            there = true[:, number] >= 0
            assert float((read == true)[there, number].float().mean()) > 0.99
        assert float((read == true).all(1).float().mean()) > 0.97
