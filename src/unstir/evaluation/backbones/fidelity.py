r"""Inception, DINOv2 and CLIP as torch-fidelity reads images by them, so that figures are those of papers.

FID is the Fréchet distance on the 2,048 features of TensorFlow's Inception of 2015 (Heusel et al. 2017); the
Inception score takes its logits without their bias, as the authors' code does. sFID is the same distance on
features that keep where things are (Nash et al. 2021): here, as in ADM's evaluator, the first 7 channels of the
first 1x1 branch's output, after its ReLU, of the third of the blocks at 17x17 positions (TensorFlow's
``mixed_6/conv``, torch-fidelity's ``Mixed_6d.branch1x1``), :math:`7 \cdot 17 \cdot 17 = 2023` numbers. Their order
changes no distance.

torch-fidelity resizes as TensorFlow 1 did, without antialiasing; that is part of what these figures mean.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unstir.errors import InputError, told_shortly
from unstir.evaluation.backbones.backbone import NetworkBackbone, Seen
from unstir.evaluation.backbones.names import INCEPTION
from unstir.networks.weights import hub_file, read_state

SPATIAL = 7
"""Channels that sFID takes of 192."""

_PREPROCESSING = "torch-fidelity, bilinear as TensorFlow 1"
_DINOV2 = {"dinov2": "dinov2-vit-l-14", "dinov2-small": "dinov2-vit-s-14"}
_CLIP = {"clip": "clip-vit-b-32"}
_DINOV2_URL = "https://dl.fbaipublicfiles.com/dinov2"


def fidelity(name: str, path: Path | None = None) -> NetworkBackbone:
    """Return a backbone of torch-fidelity, ``inception``, ``dinov2``, ``dinov2-small`` or ``clip``.

    Raises:
        InputError: If torch-fidelity is missing or too old, or the weights are.
    """
    check_installed(name)
    if name == INCEPTION:
        return inception(path)
    return clip(name, path) if name in _CLIP else dinov2(name, path)


def inception(path: Path | None = None) -> NetworkBackbone:
    """Return the Inception of FID: 2,048 features, 1,008 class probabilities and 2,023 spatial features.

    Args:
        path: A file of weights as torch-fidelity's; None for that one, from torch's folder of downloads.

    Raises:
        InputError: If the weights are not there, or are another network's.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

    official = URL_INCEPTION_V3.rpartition("/")[2]
    sha256 = official.removesuffix(".pth").rpartition("-")[2] if path is None else ""
    place = hub_file(INCEPTION, URL_INCEPTION_V3, official, path, sha256)
    # torch-fidelity would unpickle whatever the file holds: it gets tensors that were read as such.
    safe = io.BytesIO()
    torch.save(read_state(INCEPTION, place), safe)
    safe.seek(0)
    try:
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=safe
        )
    except RuntimeError as error:
        raise InputError(
            f"{place} holds another network's weights than '{INCEPTION}': {told_shortly(error)}"
        ) from None
    branch: list[Tensor] = []
    network.Mixed_6d.branch1x1.register_forward_hook(lambda *given: branch.append(given[2][:, :SPATIAL]))

    def see(pixels: Tensor) -> Seen:
        features, logits = network(pixels)
        return Seen(features, logits.double().softmax(1), branch.pop().flatten(1))

    return NetworkBackbone(INCEPTION, network, _PREPROCESSING, see)


def clip(name: str, path: Path | None = None) -> NetworkBackbone:
    """Return CLIP's image encoder (Radford et al. 2021): 512 features.

    Its file is a program of TorchScript, so none is opened but OpenAI's own, which is known by its hash.

    Raises:
        InputError: If that is not there.
    """
    from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS, FeatureExtractorCLIP

    kind = _CLIP[name]
    sha256 = MODEL_METADATA[kind]["hash"]
    place = hub_file(name, MODEL_URLS[kind], f"{kind}-{sha256}.pt", path, sha256)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = FeatureExtractorCLIP(kind, ["clip"], feature_extractor_weights_path=str(place))
    return NetworkBackbone(name, network, _PREPROCESSING, lambda pixels: Seen(network(pixels)[0]))


def dinov2(name: str, path: Path | None = None) -> NetworkBackbone:
    """Return DINOv2 (Oquab et al. 2023): 1,024 features of ViT-L/14, 384 of ViT-S/14.

    torch-fidelity has it made by the code of its authors in torch's folder of downloads. unstir does not bring
    code from the network to run it: the user puts it there.

    Args:
        name: ``dinov2`` or ``dinov2-small``.
        path: Another folder to find it in.

    Raises:
        InputError: If the code or the weights are not there.
    """
    from torch_fidelity.feature_extractor_dinov2 import MODEL_METADATA, FeatureExtractorDinoV2

    kind = MODEL_METADATA[_DINOV2[name]]
    usual = Path(torch.hub.get_dir())
    home = usual if path is None else path
    code, weights = home / "facebookresearch_dinov2_main", home / f"checkpoints/{kind}_pretrain.pth"
    if not (code / "hubconf.py").is_file() or not weights.is_file():
        raise InputError(
            f"the backbone '{name}' needs a copy of https://github.com/facebookresearch/dinov2 at {code} and "
            f"{_DINOV2_URL}/{kind}/{weights.name} at {weights}; name another folder with '{name}@FOLDER'"
        )
    torch.hub.set_dir(home)
    try:
        with _unasked(code):
            network = FeatureExtractorDinoV2(_DINOV2[name], ["dinov2"])
    except (RuntimeError, ImportError, OSError) as error:
        raise InputError(f"the backbone '{name}' could not be made by {code}: {told_shortly(error)}") from None
    finally:
        torch.hub.set_dir(usual)
    return NetworkBackbone(name, network, _PREPROCESSING, lambda pixels: Seen(network(pixels)[0]))


def check_installed(name: str) -> None:
    """Raise an `InputError` if torch-fidelity is missing, or so old that it swaps precision and recall."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("torch-fidelity")
    except PackageNotFoundError:
        found = ""
    if not found or tuple(map(int, found.split(".")[:2])) < (0, 4):
        what = f"0.4 or later, and {found} is installed" if found else "0.4 or later"
        raise InputError(f"the backbone '{name}' needs torch-fidelity {what}: pip install 'unstir[evaluate]'")


@contextmanager
def _unasked(code: Path) -> Iterator[None]:
    """Have ``torch.hub.load`` take the code that is there, and ask no network for a newer one."""
    load = torch.hub.load

    def local(repository: str, model: str, **options: Any) -> Any:
        return load(str(code), model, source="local", **options)

    torch.hub.load = local  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.hub.load = load
