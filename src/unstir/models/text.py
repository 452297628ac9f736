"""Texts as frozen encoders read them: a row for each token, and one for the whole.

An encoder's last states are what a network attends to; the whole is CLIP's state at the end of the text (Radford
et al. 2021), and of other encoders the mean of the states (Reimers and Gurevych 2019). A text is read once: a
set's captions before training, into the cache; what else is asked for, such as a prompt, by itself, so that it is
read alike whatever stands beside it. Only texts of one number of tokens are read together, so nothing is padded.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unstir.cache import cache_folder
from unstir.errors import InputError, told_shortly
from unstir.models.encoders import check_encoder, encoder_hash, find_encoder, weights_in
from unstir.networks.told import Told
from unstir.processes import processes
from unstir.progress import counter
from unstir.tensors import read_tensors, write_tensors

VERSION = 1
"""Of what is kept of texts; whoever reads them otherwise raises it."""

LONGEST = 77
"""Tokens of the longest text, CLIP's; longer ones are cut."""

BATCH = 64
"""Texts that are read together."""

_log = logging.getLogger(__name__)


class Read(NamedTuple):
    """A text that was read: its tokens (L, D) and the whole (D,), both float16."""

    tokens: Tensor
    whole: Tensor


class TextBook:
    """The texts that one encoder has read in this process.

    Args:
        name: The encoder's.

    Raises:
        InputError: If the encoder is not there.
    """

    def __init__(self, name: str) -> None:
        self.name, self.folder, self.hash = name, find_encoder(name), encoder_hash(name)
        self.known: dict[tuple[str, int], Read] = {}

    def learn(self, texts: Iterable[str]) -> dict[str, object]:
        """Read all texts of a set, at least one, or take what the cache holds of them; ``""`` is none.

        Returns:
            What a network must know to be told them: ``width`` D, the encoder's ``hash``, and ``length``, the
            tokens of the longest text, rounded up to whole eights.

        Raises:
            InputError: If the encoder cannot be used, or the cache cannot be written.
        """
        wanted = sorted({*texts} - {""})
        keys = [(text, LONGEST) for text in wanted]
        if not self.known.keys() >= {*keys}:
            text = json.dumps([VERSION, self.hash, LONGEST, *wanted])
            name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
            path = cache_folder() / "texts" / f"{name}.safetensors"
            with processes().main_process_first():
                found = _kept(path)
                if found is None:
                    found = self.read(wanted, LONGEST, BATCH, progress=True)
                    if processes().is_main_process:
                        _keep(path, found)
                        found = _kept(path) or found  # mapped from the file: no memory of ours
            self.known |= dict(zip(keys, found, strict=True))
        read = [self.known[key] for key in keys]
        longest = max(len(one.tokens) for one in read)
        return {"width": len(read[0].whole), "hash": self.hash, "length": min(LONGEST, -(-longest // 8) * 8)}

    def tokens(self, texts: Sequence[str], length: int, width: int) -> Tensor:
        """Return float32 (B, L, D): the states of each text's tokens, zeros behind the last and for ``""``.

        A text of more than ``length`` tokens is cut, with a warning.
        """
        rows = torch.zeros(len(texts), length, width)
        for row, text in zip(rows, texts):
            if text:
                states = self._of(text, length).tokens
                row[: len(states)] = states
        return rows

    def wholes(self, texts: Sequence[str], width: int) -> Tensor:
        """Return float32 (B, D): each text as one vector, zeros for ``""``."""
        rows = torch.zeros(len(texts), width)
        for row, text in zip(rows, texts):
            if text:
                row[:] = self._of(text, LONGEST).whole
        return rows

    def _of(self, text: str, length: int) -> Read:
        for known in (LONGEST, length):
            one = self.known.get((text, known))
            if one and len(one.tokens) <= length:
                return one
        one = self.known[text, length] = self.read([text], length)[0]
        return one

    def read(self, texts: Sequence[str], length: int, batch: int = 1, progress: bool = False) -> list[Read]:
        """Return texts as the encoder reads them.

        Args:
            texts: Not empty.
            length: Tokens to which longer ones are cut, with a warning.
            batch: How many are read together.
            progress: Whether to show a progress bar, if standard error is a terminal.
        """
        limit = min(length, self.tokenizer.model_max_length)
        ids = self.tokenizer([*texts], verbose=False).input_ids
        cut = [text for text, own in zip(texts, ids, strict=True) if len(own) > limit]
        if cut:
            others = f", and {len(cut) - 1:,} other texts are" if len(cut) > 1 else ""
            _log.warning("'%s' is longer than %d tokens%s: the rest is not read", cut[0][:60], limit, others)
            ids = self.tokenizer([*texts], truncation=True, max_length=limit).input_ids
        order = sorted(range(len(texts)), key=lambda i: len(ids[i]))
        ends, row = [0, *accumulate(len(ids[i]) for i in order)], 0
        # One block for all: rows of their own would lie among what the encoder frees, which then stays taken.
        width, clip = self.model.config.hidden_size, self.model.config.model_type == "clip_text_model"
        tokens, wholes = (torch.empty(count, width, dtype=torch.float16) for count in (ends[-1], len(order)))
        with counter(len(texts), "reading captions", progress) as advance, torch.no_grad():
            for _, group in groupby(order, key=lambda i: len(ids[i])):
                alike = [*group]
                for first in range(0, len(alike), batch):
                    part = alike[first : first + batch]
                    found = self.model(input_ids=torch.tensor([ids[i] for i in part]))
                    states = found.last_hidden_state
                    tokens[ends[row] : ends[row + len(part)]] = states.flatten(0, 1)
                    wholes[row : row + len(part)] = found.pooler_output if clip else states.mean(1)
                    row += len(part)
                    for _ in part:
                        advance()
        read = {i: Read(tokens[ends[r] : ends[r + 1]], wholes[r]) for r, i in enumerate(order)}
        return [read[i] for i in range(len(texts))]

    @cached_property
    def tokenizer(self) -> Any:
        """What makes tokens of a text."""
        from transformers import AutoTokenizer

        with _told_of(self.name):
            return AutoTokenizer.from_pretrained(self.folder, local_files_only=True)

    @cached_property
    def model(self) -> Any:
        """The encoder, in float32 on the CPU: of a model of two, such as CLIP or T5, the one that reads texts."""
        from transformers import AutoConfig, AutoModelForTextEncoding, CLIPTextModel

        safe = weights_in(path.name for path in self.folder.iterdir())[0].endswith(".safetensors")
        with _told_of(self.name):
            own = AutoConfig.from_pretrained(self.folder, local_files_only=True)
            kind = CLIPTextModel if own.model_type == "clip" else AutoModelForTextEncoding
            made = kind.from_pretrained(
                self.folder, dtype=torch.float32, use_safetensors=safe, weights_only=True, local_files_only=True
            )
        return made.eval().requires_grad_(False)


@cache
def textbook(encoder: str) -> TextBook:
    """Return the one book of an encoder in this process.

    Raises:
        InputError: If the encoder is not there.
    """
    return TextBook(encoder)


def spoken(told: Mapping[str, Told], texts: Mapping[str, Sequence[str]]) -> dict[str, Tensor]:
    """Return texts as a model is told them.

    Args:
        told: The parts that are text, of a model that has seen its data.
        texts: By the same names, one for each image; ``""`` for none.

    Returns:
        Of those of both: float32 (B, L, D) in the socket ``tokens``, (B, D) in another.

    Raises:
        InputError: If an encoder is not there, or is another than in training.
    """
    values = {}
    for name, given in texts.items():
        one = told[name]
        check_encoder(name, one)
        book = textbook(one.encoder)
        tokens = one.enters == "tokens"
        values[name] = book.tokens(given, one.length, one.width) if tokens else book.wholes(given, one.width)
    return values


def _keep(path: Path, read: Sequence[Read]) -> None:
    """Write texts that were read, one behind another."""
    counts = torch.tensor([len(one.tokens) for one in read])
    tensors = {
        "tokens": torch.cat([one.tokens for one in read]),
        "wholes": torch.stack([one.whole for one in read]),
        "counts": counts,
    }
    write_tensors(path, tensors, {"texts": len(read)})


def _kept(path: Path) -> list[Read] | None:
    """Return what is kept at ``path``, or None where there is nothing or the file is damaged."""
    try:
        _, tensors = read_tensors(path)
    except InputError:
        return None
    tokens = tensors["tokens"].split(tensors["counts"].tolist())
    return [Read(*one) for one in zip(tokens, tensors["wholes"], strict=True)]


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    """Keep transformers' bars and notes off the screen, and say in a sentence what it cannot load."""
    from transformers.utils import logging as notes

    level, bars = notes.get_verbosity(), notes.is_progress_bar_enabled()
    notes.set_verbosity_error()
    notes.disable_progress_bar()
    try:
        yield
    except Exception as error:  # whatever a foreign folder makes it raise
        raise InputError(f"The text encoder '{name}' cannot be loaded: {told_shortly(error)}") from None
    finally:
        notes.set_verbosity(level)
        if bars:
            notes.enable_progress_bar()
