"""What fits of another model's weights is taken over to the bit, and what does not begins anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unstir.errors import InputError
from unstir.models.config import SampleInfo
from unstir.models.file import save
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import FullyConnectedConfig, UNetConfig
from unstir.networks.told import Told
from unstir.training.taking_over import shapes_of, taken_over

Make = Callable[..., DenoiserConfig]


def config(
    shape: tuple[int, int, int] = (3, 8, 8), classes: tuple[str, ...] = (), patch: int = 2, width: int = 8
) -> DenoiserConfig:
    told = {"label": Told(kind="classes", classes=classes, dropout=0.1)} if classes else {}
    network = UNetConfig(channels=(width, 2 * width), blocks=1, attention=("none", "full"), patch=patch)
    return DenoiserConfig(network=network, told=told, samples=SampleInfo(shape=shape))


def weights(config: DenoiserConfig, seed: int) -> dict[str, Tensor]:
    """Weights none of which is as another, nor zero."""
    model = config.build({})
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(value.shape, generator=generator) for name, value in model.state_dict().items()}


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[DenoiserConfig], tuple[str, Mapping[str, Tensor]]]:
    def keep(config: DenoiserConfig) -> tuple[str, Mapping[str, Tensor]]:
        model = config.build({})
        model.load_state_dict(weights(config, 1))
        save(tmp_path / "other.safetensors", model)
        return str(tmp_path / "other.safetensors"), model.state_dict()

    return keep


def begun(start: str, config: DenoiserConfig) -> tuple[dict[str, Tensor], dict[str, Tensor], str]:
    fresh = weights(config, 2)
    found = taken_over(start, config, shapes_of(fresh))
    return fresh, found.state(fresh), found.words


def test_of_images_of_another_size_all_is_taken(saved: Callable[..., tuple[str, Mapping[str, Tensor]]]) -> None:
    start, theirs = saved(config())
    _, state, words = begun(start, config((3, 16, 12)))
    assert all(torch.equal(state[name], theirs[name]) for name in state)
    count = sum(value.numel() for value in theirs.values())
    assert words == f"{count:,} of {count:,} weights are those of {start}"


def test_a_class_that_both_know_keeps_its_row_and_so_does_none(
    saved: Callable[..., tuple[str, Mapping[str, Tensor]]],
) -> None:
    start, theirs = saved(config(classes=("cat", "dog", "owl")))
    fresh, state, words = begun(start, config(classes=("ant", "owl", "cat", "yak")))
    (table,) = [name for name in state if name.endswith("label.table.weight")]
    expected = [fresh[table][0], theirs[table][2], theirs[table][0], fresh[table][3], theirs[table][3]]
    assert torch.equal(state[table], torch.stack(expected))
    assert "; 1 tensor begins anew, in whole or in part" in words


@pytest.mark.parametrize(("ours", "other"), [(4, 3), (3, 4), (3, 1)])
def test_channels_that_both_have_are_taken_of_the_first_and_the_last_layer(
    saved: Callable[..., tuple[str, Mapping[str, Tensor]]], ours: int, other: int
) -> None:
    start, theirs = saved(config((other, 8, 8)))
    fresh, state, _ = begun(start, config((ours, 8, 8)))
    both = 4 * min(ours, other)  # in patches of 2 by 2
    changed = {name for name in state if not torch.equal(state[name], theirs.get(name, fresh[name]))}
    assert changed == {"denoiser.network.stem.weight", "denoiser.network.out.weight", "denoiser.network.out.bias"}
    stem, out, bias = (f"denoiser.network.{name}" for name in ("stem.weight", "out.weight", "out.bias"))
    assert torch.equal(state[stem][:, :both], theirs[stem][:, :both])
    assert torch.equal(state[stem][:, both:], fresh[stem][:, both:])
    for name in (out, bias):
        assert torch.equal(state[name][:both], theirs[name][:both])
        assert torch.equal(state[name][both:], fresh[name][both:])


def test_of_a_learned_variance_each_of_the_two_images_keeps_its_channels(
    saved: Callable[..., tuple[str, Mapping[str, Tensor]]],
) -> None:
    def learned(channels: int) -> DenoiserConfig:
        plain = config((channels, 8, 8))
        diffusion = {"variance": "learned", "objective": "hybrid"}
        return plain.model_copy(update={"diffusion": plain.diffusion.model_copy(update=diffusion)})

    start, theirs = saved(learned(3))
    fresh, state, _ = begun(start, learned(4))
    bias = "denoiser.network.out.bias"
    parts = theirs[bias][:12], fresh[bias][12:16], theirs[bias][12:], fresh[bias][28:]
    assert torch.equal(state[bias], torch.cat(parts))


def test_what_the_weights_meant_elsewhere_is_said(saved: Callable[..., tuple[str, Mapping[str, Tensor]]]) -> None:
    mine = config()
    other = mine.model_copy(update={"diffusion": mine.diffusion.model_copy(update={"parameterization": "v"})})
    start, _ = saved(other)
    assert begun(start, mine)[2].endswith("; they predicted v, and learn to predict eps")


def test_another_network_or_hardly_anything_is_refused(
    saved: Callable[..., tuple[str, Mapping[str, Tensor]]],
) -> None:
    start, _ = saved(config())
    with pytest.raises(InputError, match="has a network of the kind 'unet', and this recipe's is 'fully_conn"):
        begun(start, config().model_copy(update={"network": FullyConnectedConfig(widths=(8,))}))
    with pytest.raises(InputError, match="fit: give a run with the same network"):
        begun(start, config(width=16))
