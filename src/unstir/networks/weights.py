"""Where the weights of pretrained networks are: in torch's own folder of downloads, or where the user says.

Weights are tensors and nothing else: a file of them is read with ``weights_only``, and what cannot be read so is
refused, but for files whose hash is known.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from unstir.errors import InputError, told_shortly
from unstir.files import check_file, whole_file
from unstir.processes import processes


def hub_file(name: str, url: str, file: str, path: Path | None, sha256: str = "") -> Path:
    """Return where a network's weights are: at ``path``, or in torch's folder, brought there if need be.

    Args:
        name: Of the network.
        url: Where they are to be had.
        file: What they are called in torch's folder, as its ``load_state_dict_from_url`` would have it.
        path: Where the user says that they are.
        sha256: How the hash of the file begins; "" for any.

    Raises:
        InputError: If they are not there and cannot be downloaded, or are not those that are meant.
    """
    place = Path(torch.hub.get_dir()) / "checkpoints" / file if path is None else path
    check_file(place)
    if path is None:
        # Of several processes of a machine the first brings them, and the others, which wait, find them.
        with processes().local_main_process_first():
            if not place.exists():
                _download(name, url, place)
    if not place.exists():
        raise InputError(f"the network '{name}' finds no weights at {place}; they are to be had at {url}")
    if sha256 and not _sha256(place).startswith(sha256):
        raise InputError(
            f"{place} does not hold the weights of '{name}': its hash does not begin with {sha256[:8]}; get them "
            f"from {url}"
        )
    return place


def read_state(name: str, path: Path) -> dict[str, Tensor]:
    """Return the tensors by name in a file that ``torch.save`` or safetensors wrote.

    Raises:
        InputError: If it is damaged, or holds anything else.
    """
    import pickle

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, ValueError, EOFError, KeyError) as error:
        raise InputError(f"{path} holds no weights of '{name}' that can be read: {told_shortly(error)}") from None
    except Exception as error:  # safetensors' own error, which has no other base
        raise InputError(f"{path} holds no weights of '{name}' that can be read: {told_shortly(error)}") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds no weights of '{name}': it is no mapping from names to tensors")
    return state


def fill(name: str, network: torch.nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Give a network its weights, all of them and no others.

    Raises:
        InputError: If they are another network's.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{path} holds another network's weights than '{name}': {told_shortly(error)}") from None


def _download(name: str, url: str, place: Path) -> None:
    """Bring a file whole or not at all.

    Raises:
        InputError: If it cannot be had.
    """
    try:
        with whole_file(place) as partial:
            torch.hub.download_url_to_file(url, str(partial), progress=False)
    except (OSError, InputError) as error:  # urllib's errors are of the first kind
        raise InputError(
            f"the network '{name}' needs weights that could not be downloaded ({told_shortly(error)}): put the "
            f"file of {url} at {place}, or name its place with '{name}@PATH'"
        ) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
