"""A variational autoencoder and a GAN of about the parameters of the recipe mnist, to compare diffusion with."""

from __future__ import annotations

from unstir.data.config import DataConfig
from unstir.models.systems import GANConfig, VAEConfig
from unstir.networks.told import Told
from unstir.recipes.request import LABEL, Request
from unstir.training.config import Config


def mnist_vae(request: Request) -> Config:
    """MNIST by label: a variational autoencoder, whose samples take one evaluation and are soft."""
    return Config(
        recipe="mnist-vae",
        data=DataConfig(source=request.data or "mnist"),
        training=request.training(seconds=10 * 60, batch=128, optimizer="muon", learning_rate=2e-3),
        model=VAEConfig(told=LABEL, latent=32),
    )


def mnist_gan(request: Request) -> Config:
    """MNIST by label: a GAN, whose samples take one evaluation and are sharp."""
    return Config(
        recipe="mnist-gan",
        data=DataConfig(source=request.data or "mnist"),
        training=request.training(
            seconds=10 * 60, batch=64, learning_rate=1e-3, betas=(0.0, 0.99), warmup=0, decay=0.5
        ),
        model=GANConfig(told={"label": Told(kind="classes")}),
    )
