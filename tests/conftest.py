from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from unstir.cache import cache_folder
from unstir.kernels.processor import speeds


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Return a maker of folders: each is filled once for all processes that share the tests, and only read."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                folder.mkdir(exist_ok=True)
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory, once: Callable[..., Path]) -> Path:
    """A cache of the tests' own, which has of the user's only what was found out about the machine.

    Measured again, the processor could do the other number format a little faster, and a child process would not
    compute what its parent does: what was measured counts as measured in quiet.
    """
    folder, users = tmp_path_factory.mktemp("cache"), cache_folder()
    speeds()
    (folder / "kernels").mkdir()
    (folder / "classifiers").symlink_to(once("classifiers", lambda empty: None))
    for path in (*users.glob("kernels/*.so"), *users.glob("processor-*.json")):
        shutil.copy(path, folder / path.relative_to(users))
    for path in folder.glob("processor-*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"quiet": True}))
    return folder


@pytest.fixture(scope="session")
def ruled(own_cache: Path, once: Callable[..., Path]) -> None:
    """In the tests' own cache there is the digits' ruler, which takes half a minute to train."""
    from unstir.data.config import DataConfig
    from unstir.data.load import load
    from unstir.evaluation.ruler import ruler

    once("ruled", lambda empty: ruler(load(DataConfig(source="digits"))) and None)


WORDS = ("a", "the", "red", "blue", "green", "big", "small", "circle", "square", "star", "on", "of", "left")


@pytest.fixture(scope="session")
def make_encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a maker of small text encoders with random weights: a folder as ``save_pretrained`` leaves it.

    Their tokens are words, between a beginning and an end; ``kind`` is bert, t5 or clip (both of its models).
    """
    transformers = pytest.importorskip("transformers")

    def make(kind: str = "bert", seed: int = 0) -> Path:
        import torch
        from tokenizers import Tokenizer, models, pre_tokenizers, processors

        folder = tmp_path_factory.mktemp(f"{kind}-{seed}")
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        words = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*special, *WORDS])}, unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        words.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=True))
        transformers.PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=77, **names).save_pretrained(
            folder
        )
        size = {"vocab_size": len(special) + len(WORDS), "hidden_size": 16, "intermediate_size": 24}
        layers = {"num_hidden_layers": 2, "num_attention_heads": 2}
        torch.manual_seed(seed)
        if kind == "bert":
            model = transformers.BertModel(transformers.BertConfig(**size, **layers, initializer_range=0.5))
        elif kind == "t5":
            own = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
            model = transformers.T5EncoderModel(transformers.T5Config(vocab_size=size["vocab_size"], **own))
        else:
            text = {**size, **layers, "eos_token_id": 3, "initializer_range": 0.5, "projection_dim": 8}
            seen = {**layers, "hidden_size": 16, "intermediate_size": 24, "image_size": 8, "patch_size": 4}
            model = transformers.CLIPModel(
                transformers.CLIPConfig(text_config=text, vision_config=seen, projection_dim=8)
            )
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.4)
        model.save_pretrained(folder)
        return folder

    return make
