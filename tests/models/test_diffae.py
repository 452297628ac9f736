from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unstir.diffusion import Condition
from unstir.errors import InputError
from unstir.models.config import SampleInfo
from unstir.models.diffae import DiffusionAutoencoder, between
from unstir.models.diffae_config import DiffusionAutoencoderConfig
from unstir.models.file import load, save
from unstir.networks.blocks import ResidualBlock
from unstir.sampling import SeededNoise, grid, invert, sample
from unstir.sampling.ddim import DDIM

SHAPE = (2, 6, 9)


def make(precision: str = "float32", seed: int = 0, **values: Any) -> DiffusionAutoencoder:
    """Return a tiny one whose every layer has weights."""
    own = {"network": {"kind": "unet", "channels": (64, 128), "attention": ("none", "full")}}
    config = DiffusionAutoencoderConfig.model_validate({**own, "precision": precision, **values}).tiny()
    torch.manual_seed(seed)
    model = config.seeing(SHAPE, {"label": {"kind": "classes", "classes": ("a", "b")}}).build({})
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return model  # type: ignore[return-value]


def settled(**values: Any) -> DiffusionAutoencoder:
    """Return one that has seen how its z_sem lies, ready for its verbs."""
    model = make(**values)
    model.standard.observe(model.encoder(pictures(32, seed=9))[:, :, None, None])
    return model.eval().requires_grad_(False)


def pictures(count: int = 5, seed: int = 3) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# The two codes


@torch.no_grad()
def test_both_codes_are_the_round_trip_of_ddim_under_z_sem():
    model, x = settled(), pictures()
    codes = model.encode(x)
    assert codes.shape == (5, 16, 1, 1)
    condition = Condition.of({"z_sem": model.encoder(x)})
    levels = grid(model.schedule, 7, "trailing")

    def denoise(noised: Tensor, level: Any) -> Any:
        return model.denoiser(noised, level, condition)

    noise = invert(denoise, x, levels)
    found = model.invert(x, steps=7, clip="none")
    torch.testing.assert_close(found, noise, rtol=1e-4, atol=1e-5)
    back = sample(denoise, noise, levels, DDIM(), SeededNoise(range(5)))
    decoded = model.decode(codes, noise=found, steps=7, clip="none")
    torch.testing.assert_close(decoded, back.clamp(-1, 1), rtol=1e-4, atol=1e-5)
    # It hangs on both codes.
    assert (model.decode(codes.roll(1, 0), noise=found, steps=7) - decoded).abs().mean() > 0.01
    assert (model.decode(codes, noise=found.roll(1, 0), steps=7) - decoded).abs().mean() > 0.01
    assert (model.invert(x, codes=codes.roll(1, 0), steps=7, clip="none") - noise).abs().mean() > 1e-3


@torch.no_grad()
def test_what_is_told_is_what_the_encoder_reads():
    model, x = settled(), pictures()
    told, hidden = model.telling(model.encode(x)).parts["z_sem"]
    torch.testing.assert_close(told, model.encoder(x), rtol=1e-4, atol=1e-5)
    assert not hidden.any()
    z = model.encoder(pictures(32, seed=9))  # by which codes are standardized
    codes = model.encode(pictures(32, seed=9)).flatten(1)
    torch.testing.assert_close(codes, (z - z.mean(0)) / z.std(0, correction=0), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_z_sem_scales_and_shifts_every_block():
    model, x = settled(), pictures()
    blocks = [module for module in model.denoiser.network.modules() if isinstance(module, ResidualBlock)]
    heard: list[Tensor] = []
    for block in blocks:
        block.modulation.register_forward_hook(lambda module, args, output: heard.append(output))
    level, codes = model.schedule(0.5), model.encode(x)
    model.denoiser(x, level, model.telling(codes))
    model.denoiser(x, level, model.telling(codes.roll(1, 0)))
    assert len(blocks) >= 5 and len(heard) == 2 * len(blocks)
    for own, others in zip(heard[: len(blocks)], heard[len(blocks) :], strict=True):
        scale, shift = (own - others).abs().chunk(2, dim=1)
        assert scale.mean(1).min() > 1e-3 and shift.mean(1).min() > 1e-3


def test_encoder_and_denoiser_learn_by_one_loss():
    model = make()
    batch = model.prepare((pictures(), {}), torch.Generator().manual_seed(0))
    assert "condition" not in batch  # what it is told is no part of the data
    model.losses("main", batch, model)["loss"].mean().backward()
    quiet = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert quiet == ["denoiser.conditioner.encoders.z_sem.null"]  # z_sem is never hidden


@torch.no_grad()
def test_the_loss_is_the_denoisers_under_z_sem():
    model, x = settled(), pictures()
    batch = model.prepare((x, {}), torch.Generator().manual_seed(0))
    condition = Condition.of({"z_sem": model.encoder(x)})
    level, eps = batch["level"], batch["eps"]
    alpha, sigma = level.coefficients(x)
    error = (model.denoiser(alpha * x + sigma * eps, level, condition).eps - eps).square().flatten(1).mean(1)
    torch.testing.assert_close(model.losses("main", batch, model)["loss"], error, rtol=1e-4, atol=1e-5)


def test_the_loss_rises_when_the_images_get_each_others_codes():
    torch.manual_seed(0)
    flat = torch.linspace(-1, 1, 8)[:, None, None, None].expand(8, *SHAPE).contiguous()
    model = make(diffusion={"parameterization": "v", "objective": "v"}).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(120):
        batch = model.prepare((flat, {}), torch.Generator().manual_seed(step))
        model.losses("main", batch, model)["loss"].mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().requires_grad_(False)
    batch = model.prepare((flat, {}), torch.Generator().manual_seed(999))

    def loss(codes: Tensor) -> float:
        found = model.objective(model.denoiser, flat, batch["level"], batch["eps"], model.telling(codes))
        return float(found.mean())

    codes = model.encode(flat)
    assert float(model.losses("main", batch, model)["loss"].mean()) == pytest.approx(loss(codes), rel=1e-3)
    assert loss(codes.roll(3, 0)) > 1.3 * loss(codes)


# How codes lie


def test_how_codes_lie_is_noted_in_training_alone_and_kept_in_the_file(tmp_path: Path):
    model = make()
    batch = model.prepare((pictures(), {}), torch.Generator().manual_seed(0))
    model.eval().losses("main", batch, model)
    assert model.standard.batches == 0
    model.train().losses("main", batch, model)
    assert model.standard.batches == 1
    torch.testing.assert_close(model.standard.mean, model.encoder(pictures()).mean(0).detach())
    save(tmp_path / "x.safetensors", model)
    again = load(tmp_path / "x.safetensors")
    torch.testing.assert_close(again.encode(pictures()), model.eval().encode(pictures()))


def test_codes_for_a_second_stage_are_the_codes():
    model, x = settled(), pictures()
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert torch.equal(model.codes(model.moments(x), generator), model.encode(x))
    assert torch.equal(generator.get_state(), before)
    assert model.config.codes == tuple(model.encode(x).shape[1:])


# Drawing


def test_an_image_hangs_on_its_own_code_and_seed_alone():
    model = settled()
    codes = model.encode(pictures(7))
    whole = model.decode(codes, range(10, 17), steps=3)
    assert (whole.diff(dim=0).abs().flatten(1).mean(1) > 0.01).all()
    for batch in (1, 3):
        torch.testing.assert_close(
            model.decode(codes, range(10, 17), steps=3, batch=batch), whole, atol=1e-4, rtol=0
        )
    one = model.decode(codes[4:5], [14], steps=3)
    torch.testing.assert_close(one[0], whole[4], atol=1e-4, rtol=0)
    others = model.decode(codes, range(7), steps=3)
    assert ((others - whole).abs().flatten(1).mean(1) > 0.01).all()


def test_noise_of_an_image_is_not_that_of_the_code_from_the_same_seed():
    model, codes = settled(), torch.zeros(2, 16, 1, 1)
    taken = SeededNoise([4, 5])(torch.zeros(2, *SHAPE))
    own = SeededNoise([4, 5], stream=1)(torch.zeros(2, *SHAPE))
    drawn = model.decode(codes, [4, 5], steps=3)
    torch.testing.assert_close(model.decode(codes, noise=own, steps=3), drawn, atol=1e-4, rtol=0)
    assert (model.decode(codes, noise=taken, steps=3) - drawn).abs().mean() > 0.01
    # Nor is what a sampler adds on the way.
    settings, way = (
        model.config.drawing({"sampler": "ddpm", "steps": 3, "clip": "none"}),
        SeededNoise([4, 5], stream=1),
    )
    with torch.no_grad():
        expected = sample(
            lambda x, level: model.denoiser(x, level, model.telling(codes)),
            way(own),
            grid(model.schedule, 3, settings.spacing),
            settings.build(model.schedule),
            way,
        )
    drawn = model.decode(codes, [4, 5], steps=3, sampler="ddpm", clip="none")
    torch.testing.assert_close(drawn, expected.clamp(-1, 1), atol=1e-4, rtol=0)


def test_few_images_or_none():
    model = settled()
    assert model.encode(pictures(0)).shape == (0, 16, 1, 1)
    assert model.decode(torch.zeros(0, 16, 1, 1)).shape == (0, *SHAPE)


def test_bf16_is_about_float32():
    exact, rough, x = settled(), settled(precision="bf16"), pictures()
    torch.testing.assert_close(rough.encode(x), exact.encode(x), rtol=0.05, atol=0.1)
    assert rough.encode(x).dtype == torch.float32
    codes = exact.encode(x)
    difference = rough.decode(codes, steps=3) - exact.decode(codes, steps=3)
    assert difference.abs().mean() < 0.03


# Between two


def test_the_way_between_two_noises_is_the_arc():
    a, b = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    way = between(a, b, torch.tensor([0.0, 1 / 3, 0.5, 1.0]))
    assert way.shape == (4, 1, 2)
    third = [3 * math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)]
    torch.testing.assert_close(way[:, 0], torch.tensor([[3, 0], third, [3 / 2**0.5, 2 / 2**0.5], [0, 2]]))
    x, y = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    halfway = between(x, y, torch.tensor([0.5]))[0]
    assert float(halfway.std()) == pytest.approx(1, abs=0.03)  # the mean of both has 0.71
    torch.testing.assert_close(between(x, y, torch.tensor([0.25])), between(y, x, torch.tensor([0.75])))


def test_between_noises_of_one_direction_the_way_is_straight():
    a = torch.randn(4, generator=torch.Generator().manual_seed(0))
    shares = torch.tensor([0.0, 0.25, 1.0])
    for factor in (1.0, 3.0, -1.0):
        expected = torch.stack([a, 0.75 * a + 0.25 * factor * a, factor * a])
        torch.testing.assert_close(between(a, factor * a, shares), expected)


# What is wrong


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda model: model.encode(torch.zeros(1, 2, 6, 6)), "samples are 2x6x9, and these are 2x6x6"),
        (lambda model: model.invert(torch.zeros(1, 2, 6, 6)), "samples are 2x6x9, and these are 2x6x6"),
        (lambda model: model.decode(torch.zeros(1, 5, 1, 1)), "codes are here 1x16x1x1, .* these are 1x5x1x1"),
        (lambda model: model.decode(torch.zeros(2, 16, 1, 1), [1]), "codes are here 1x16x1x1"),
        (
            lambda model: model.decode(torch.zeros(2, 16, 1, 1), noise=torch.zeros(1, *SHAPE)),
            "codes are here 1x16x1x1",
        ),
        (lambda model: model.decode(torch.zeros(1, 16, 1, 1), noise=torch.zeros(1, 2)), "samples are 2x6x9"),
        (lambda model: model.invert(pictures(), codes=torch.zeros(1, 16, 1, 1)), "codes are here 5x16x1x1"),
        (lambda model: model.invert(pictures(), eta=0.5), "DDIM's, with eta 0: it takes no eta"),
        (lambda model: model.decode(torch.zeros(1, 16, 1, 1), steps=2000), "2000 steps were asked for"),
        (lambda model: model.decode(torch.zeros(1, 16, 1, 1), guidance=2.0), "needs told.z_sem.dropout above 0"),
        (lambda model: model.sample(2), "a diffusion autoencoder and cannot draw images"),
        (lambda model: model.clean(pictures(), 0.3), "a diffusion autoencoder and cannot clean images"),
        (lambda model: model.vary(pictures(), 0.3), "a diffusion autoencoder and cannot fill in"),
    ],
)
def test_wrong_input_is_told(ask: Any, message: str):
    with pytest.raises(InputError, match=message):
        ask(settled())


@pytest.mark.parametrize(
    "values",
    [
        {"told": {}},
        {"told": {"z_sem": {"kind": "embedding"}, "label": {"kind": "classes"}}},
        {"told": {"z_sem": {"kind": "embedding", "dropout": 0.1}}},
        {"told": {"z_sem": {"kind": "embedding", "socket": "tokens"}}},
        {"diffusion": {"schedule": {"name": "single"}}},
    ],
)
def test_it_is_told_its_own_code_alone_at_many_levels(values: dict[str, Any]):
    with pytest.raises(
        ValueError, match=r"a diffusion autoencoder (is told z_sem alone|needs a schedule of many)"
    ):
        DiffusionAutoencoderConfig.model_validate(values)


def test_what_it_is_told_is_no_column_of_the_data():
    config = DiffusionAutoencoderConfig(samples=SampleInfo(shape=SHAPE))
    facts = {"z_sem": {"kind": "classes", "classes": ("x", "y")}, "label": {"kind": "classes", "classes": ("a",)}}
    seen = config.seeing(SHAPE, facts)
    assert seen.told["z_sem"].width == 32 and seen.reads == ()
    assert seen.codes == (32, 1, 1)
