"""A variational autoencoder and a GAN, each of about the parameters of the recipe mnist's small network."""

from __future__ import annotations

from unstir.data.config import DataConfig
from unstir.models.systems import GANConfig, VAEConfig
from unstir.networks.told import Told
from unstir.recipes.request import LABEL, Request
from unstir.training.config import Config


def mnist_vae(request: Request) -> Config:
    """MNIST by label: a variational autoencoder; draws in one evaluation, and softly."""
    return Config(
        recipe="mnist-vae",
        data=DataConfig(source=request.data or "mnist"),
        training=request.training(seconds=10 * 60, batch=128, optimizer="muon", learning_rate=2e-3),
        model=VAEConfig(told=LABEL, latent=32),
    )


def mnist_gan(request: Request) -> Config:
    """MNIST by label: a GAN; draws in one evaluation, and sharply."""
    return Config(
        recipe="mnist-gan",
        data=DataConfig(source=request.data or "mnist"),
        training=request.training(
            seconds=10 * 60, batch=32, learning_rate=1e-3, betas=(0.0, 0.99), warmup=0, decay=0.5
        ),
        model=GANConfig(told={"label": Told(kind="classes")}, r1=0.3),
    )
