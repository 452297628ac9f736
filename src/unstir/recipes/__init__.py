"""Recipes: functions that return a configuration, one file per family."""

from __future__ import annotations

from collections.abc import Callable

from unstir.errors import InputError, nearest
from unstir.recipes.captions import emoji_text, shapes_text
from unstir.recipes.cifar import cifar10, cifar10_adm
from unstir.recipes.classifiers import cifar10_classifier, mnist_classifier
from unstir.recipes.codecs import church256_codec, cifar10_codec, emoji_codec, faces256_codec, images_codec
from unstir.recipes.diffae import cifar10_diffae, emoji_diffae, faces128_diffae, mnist_diffae
from unstir.recipes.digits import digits, digits_variations
from unstir.recipes.gan_and_vae import mnist_gan, mnist_vae
from unstir.recipes.imagenet import imagenet64_adm, imagenet128_adm, imagenet256_adm
from unstir.recipes.latent import emoji_latent, emoji_latent_text, images_latent
from unstir.recipes.mnist import (
    fashion_mnist,
    mnist,
    mnist_dae,
    mnist_fc,
    mnist_fc_notime,
    mnist_hybrid,
    mnist_label_input,
)
from unstir.recipes.ncsn import cifar10_ncsn, mnist_ncsn
from unstir.recipes.own_images import HOUR, images
from unstir.recipes.palette import mnist_inpaint, palette
from unstir.recipes.photos import cars64, church64, faces128, stl10_96
from unstir.recipes.request import Request
from unstir.training.config import Config, TrainingConfig
from unstir.training.plan import Plan

Recipe = Callable[[Request], Config | Plan]
"""A function from what the user asked for to a configuration, or to a plan of several in turn.

The first line of its docstring describes it.
"""

RECIPES: dict[str, Recipe] = {
    "digits": digits,
    "digits-variations": digits_variations,
    "mnist": mnist,
    "mnist-label-input": mnist_label_input,
    "mnist-fc": mnist_fc,
    "mnist-fc-notime": mnist_fc_notime,
    "mnist-dae": mnist_dae,
    "mnist-ncsn": mnist_ncsn,
    "mnist-hybrid": mnist_hybrid,
    "mnist-vae": mnist_vae,
    "mnist-gan": mnist_gan,
    "mnist-diffae": mnist_diffae,
    "mnist-inpaint": mnist_inpaint,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar10-adm": cifar10_adm,
    "cifar10-diffae": cifar10_diffae,
    "cifar10-ncsn": cifar10_ncsn,
    "mnist-classifier": mnist_classifier,
    "cifar10-classifier": cifar10_classifier,
    "palette": palette,
    "church64": church64,
    "cars64": cars64,
    "stl10-96": stl10_96,
    "faces128": faces128,
    "faces128-diffae": faces128_diffae,
    "imagenet64-adm": imagenet64_adm,
    "imagenet128-adm": imagenet128_adm,
    "imagenet256-adm": imagenet256_adm,
    "shapes-text": shapes_text,
    "emoji-text": emoji_text,
    "emoji-codec": emoji_codec,
    "cifar10-codec": cifar10_codec,
    "images-codec": images_codec,
    "church256-codec": church256_codec,
    "faces256-codec": faces256_codec,
    "emoji-latent": emoji_latent,
    "emoji-latent-text": emoji_latent_text,
    "images-latent": images_latent,
    "emoji-diffae": emoji_diffae,
    "images": images,
}


def budgets(name: str) -> list[TrainingConfig]:
    """Return how a recipe trains if no budget is given, each stage of a plan."""
    if RECIPES[name] is images:  # which chooses all else by its images
        return [Request().training(seconds=HOUR)]
    # Of data that a recipe may ask for, and a speed that need not be measured: the budget hangs on neither.
    planned = RECIPES[name](Request(data="digits", gflops=1.0))
    return [config.training for config in (planned.stages.values() if isinstance(planned, Plan) else [planned])]


def recipe(name: str) -> Recipe:
    """Return a recipe by its name.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in RECIPES:
        raise InputError(f"No recipe is called '{name}'{nearest(name, list(RECIPES)) or '; see unstir recipes'}")
    return RECIPES[name]
