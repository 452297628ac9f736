"""The captions of a run are read before it trains, those that it sees alone, and by one encoder throughout."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from unstir.config import checked
from unstir.data.dataset import ImageData, Splits
from unstir.data.order import order
from unstir.errors import InputError
from unstir.models.encoders import encoder_hash, find_encoder
from unstir.models.file import read_config
from unstir.models.text import TextBook, textbook
from unstir.training.captions import with_captions
from unstir.training.config import Config
from unstir.training.loop import train
from unstir.training.start import check_same, with_data

WORDS = ("red", "blue", "green", "big", "small", "circle", "square", "star")


@pytest.fixture(autouse=True)
def anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of each test's own, and encoders found anew."""
    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path / "cache"))
    for each in (find_encoder, encoder_hash, textbook):
        each.cache_clear()
    yield
    for each in (find_encoder, encoder_hash, textbook):
        each.cache_clear()


def captioned(count: int, seed: int = 0, **columns: object) -> ImageData:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
    captions = [" ".join(random.choice(WORDS, 1 + i % 6)) for i in range(count)]
    captions[1::7] = [""] * len(captions[1::7])
    return ImageData.from_array(pixels, columns={"caption": captions, **columns})


def config(folder: Path, images: int = 16) -> Config:
    return checked(
        Config,
        {
            "recipe": "test",
            "data": {"source": "test"},
            "training": {"images": images, "batch": 4, "warmup": 1, "log_every": 2},
            "model": {
                "kind": "denoiser",
                "precision": "float32",
                "network": {"kind": "unet", "channels": [8, 16], "attention": ["none", "full"], "blocks": 1},
                "told": {
                    "caption": {"kind": "text", "encoder": str(folder), "dropout": 0.2},
                    "gist": {
                        "kind": "text",
                        "encoder": str(folder),
                        "column": "caption",
                        "socket": "vector",
                        "dropout": 0.2,
                    },
                },
                "sampling": {"steps": 2, "guidance": 1.0},
            },
        },
    )


def test_what_a_run_sees_is_read_and_what_it_does_not_see_is_not(make_encoder: Callable[..., Path]) -> None:
    folder, data = make_encoder(), captioned(60)
    asked = config(folder, images=14)  # the last step is a whole one
    seen = with_data(asked, data, Path())
    captions = data.columns["caption"].values
    wanted = {captions[i] for i in order(60, 0, 0, 16)} - {""}
    assert {text for text, _ in textbook(str(folder)).known} == wanted
    longest = max(len(text.split()) for text in wanted) + 2
    caption, gist = seen.model.told["caption"], seen.model.told["gist"]
    assert (caption.width, caption.length, gist.width, gist.length) == (16, 8, 16, 0)
    assert longest <= 8 and caption.hash == gist.hash == encoder_hash(str(folder))
    with_data(
        asked.model_copy(update={"training": asked.training.model_copy(update={"images": 999})}), data, Path()
    )
    assert {text for text, _ in textbook(str(folder)).known} == {*captions} - {""}


def test_no_step_waits_for_the_encoder_and_all_that_is_told_is_learnt(
    make_encoder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, splits = make_encoder(), Splits(captioned(20), captioned(12, seed=1))
    asked, read = config(folder), []
    whole = TextBook.read

    def watched(self: TextBook, texts: list[str], length: int, batch: int = 1, progress: bool = False) -> object:
        read.append(batch)
        return whole(self, texts, length, batch, progress)

    monkeypatch.setattr(TextBook, "read", watched)
    train(asked, tmp_path / "run", splits, 0.0)
    assert read == [64, 64]  # the captions of each part, all together, and none along the way
    from unstir.models.file import load

    model = load(tmp_path / "run")
    fresh = with_data(asked, splits.train, tmp_path / "run").model
    torch.manual_seed(asked.seed)
    before = dict(fresh.build({}).named_parameters())
    for name, parameter in model.named_parameters():
        if "conditioner" in name:
            assert not torch.equal(parameter, before[name]), name


def test_a_run_goes_on_with_no_other_encoder(make_encoder: Callable[..., Path], tmp_path: Path) -> None:
    folder, splits = make_encoder(), Splits(captioned(20), captioned(12, seed=1))
    asked, out = config(folder), tmp_path / "run"
    train(asked, out, splits, 0.0)
    check_same(with_data(asked, splits.train, out), out)
    assert read_config(out)[1].told["caption"].hash == encoder_hash(str(folder))
    shutil.copy(make_encoder(seed=1) / "model.safetensors", folder / "model.safetensors")
    for each in (encoder_hash, textbook):
        each.cache_clear()
    with pytest.raises(InputError, match=r"whose caption was read by another text encoder: .* has changed since"):
        check_same(with_data(asked, splits.train, out), out)


def test_images_without_a_caption_are_refused(make_encoder: Callable[..., Path]) -> None:
    asked = config(make_encoder())
    bare = ImageData.from_array(np.zeros((4, 1, 8, 8), np.uint8), columns={"caption": [""] * 4}, name="bare")
    with pytest.raises(InputError, match="is to be told caption, and no image of 'bare' has a caption"):
        with_captions(asked.seeing(bare.shape, bare.facts(), "x"), bare)
    none = ImageData.from_array(np.zeros((4, 1, 8, 8), np.uint8))
    with pytest.raises(InputError, match="is to be told caption, and the data has no caption"):
        with_data(asked, none, Path())
