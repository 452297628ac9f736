"""Codecs for latent diffusion: what an image is boiled down to, and made of again."""

from __future__ import annotations

from dataclasses import replace

from unstir.data.config import DataConfig
from unstir.data.peek import peek
from unstir.data.sources import find
from unstir.errors import InputError
from unstir.models.autoencoder_config import AdversaryConfig, CodecConfig
from unstir.networks.autoencoder_config import AutoencoderConfig, PatchDiscriminatorConfig
from unstir.networks.perceptual_config import LPIPS, PerceptualConfig, lpips_at_hand
from unstir.recipes.request import Request
from unstir.training.config import Begun, Config

MINUTES = 10 * 60.0
"""The small recipes' own budget, in seconds."""

GFLOP_AT_64 = 6.0
"""The arithmetic of training the small network on one image of 64x64 pixels, as if all of it went at the speed of
large products: the perceptual network and the adversary are in it."""

LAYERS = 5.0
"""Of LPIPS, which the paper adds up, with a weight of 1; of the distance here it is the mean."""

GFLOP_AT_256, LARGE_IMAGES = 3000.0, 10_000_000


def emoji_codec(request: Request) -> Config:
    """Small pictures such as emoji at 64x64: codes of 4x16x16; --data names your own folder."""
    if request.data is None:
        raise InputError("The recipe 'emoji-codec' needs --data FOLDER, a folder of your pictures")
    return _small("emoji-codec", request, request.data, 64)


def cifar10_codec(request: Request) -> Config:
    """CIFAR-10: codes of 4x8x8."""
    return _small("cifar10-codec", request, request.data or "cifar10", 32)


def images_codec(request: Request) -> Config:
    """Any folder of your own images at 32 to 128 pixels, as these allow: codes of 4x8x8 or 4x16x16."""
    if request.data is None:
        raise InputError("The recipe 'images-codec' needs --data FOLDER, a folder of your images")
    source = find(request.data)
    side = request.size or peek(source).side
    return _small("images-codec", request, request.data, next((s for s in (32, 64) if side < 1.5 * s), 128))


def church256_codec(request: Request) -> Config:
    """LSUN churches at 256x256, codes of 4x32x32 as in the paper: a GPU's work."""
    return _large("church256-codec", request, "church", (128, 256, 512, 512), 4)


def faces256_codec(request: Request) -> Config:
    """FFHQ faces at 256x256, codes of 3x64x64 as in the paper: a GPU's work."""
    return _large("faces256-codec", request, "faces", (128, 256, 512), 3)


def _small(name: str, request: Request, source: str, size: int) -> Config:
    size = request.size or size
    patch = 2 if size <= 64 else 4
    expected, begun = _expected(request, MINUTES, GFLOP_AT_64 * (2 * size / 64 / patch) ** 2)
    return Config(
        recipe=name,
        begun=begun,
        data=DataConfig(source=source, size=(size, size), channels=3, flip=True),
        training=request.training(seconds=MINUTES, batch=8, learning_rate=1e-3, betas=(0.5, 0.9)),
        model=CodecConfig(network=AutoencoderConfig(patch=patch), adversary=AdversaryConfig(after=expected // 2)),
    )


def _large(name: str, request: Request, source: str, channels: tuple[int, ...], latent: int) -> Config:
    budget = request if request.budget else replace(request, images=LARGE_IMAGES)
    expected, begun = _expected(budget, 0.0, GFLOP_AT_256)
    perceptual, note = _perceptual()
    return Config(
        recipe=name,
        note=note,
        begun=begun,
        data=DataConfig(source=request.data or source, size=(256, 256), channels=3, flip=True),
        training=request.training(
            images=LARGE_IMAGES, batch=16, learning_rate=1e-4, betas=(0.5, 0.9), warmup=1000
        ),
        model=CodecConfig(
            network=AutoencoderConfig(channels=channels, blocks=2, patch=1, latent=latent, norm="group"),
            perceptual=perceptual,
            adversary=AdversaryConfig(
                weight=0.5,
                after=min(600_000, expected // 2),
                discriminator=PatchDiscriminatorConfig(channels=(64, 128, 256, 512), patch=1),
            ),
        ),
    )


def _perceptual() -> tuple[PerceptualConfig, str]:
    """Return the paper's perceptual distance, or where its weights are not at hand the usual one, and a note."""
    if lpips_at_hand():
        return PerceptualConfig(network=LPIPS, weight=LAYERS), ""
    usual = PerceptualConfig()
    return usual, f"Perceptual distance by {usual.network}: --set perceptual.network={LPIPS} downloads the paper's"


def _expected(request: Request, own: float, gflop: float) -> tuple[int, Begun]:
    """Return about how many images training will see, and what it is begun with.

    Args:
        request: What the user asked for.
        own: The recipe's own budget, in seconds.
        gflop: Of training on one image.
    """
    if request.images is not None:
        return request.images, Begun()
    speed = request.speed()
    return round((request.seconds or own) * speed.gflops / gflop), Begun(gflops=speed.gflops)
