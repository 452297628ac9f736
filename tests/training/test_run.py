"""An image comes out the same whatever it is drawn beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from unstir.diffusion import Denoiser, Schedule
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.parameterization import X0
from unstir.diffusion.schedule import cosine, schedules
from unstir.errors import InputError
from unstir.sampling import Churn, Euler, Heun, UniPC, samplers
from unstir.training.build import build_denoiser
from unstir.training.checkpoint import save_model
from unstir.training.config import SAMPLER_OPTIONS, DiffusionConfig, ImagesInfo, SamplingConfig, ScheduleConfig
from unstir.training.draw import make_sampler
from unstir.training.precision import resolve_precision
from unstir.training.run import Run, load
from unstir.training.settings import checked

NETWORKS: dict[str, dict[str, Any]] = {
    "unet": {"kind": "unet", "channels": [32, 64], "attention": ["linear", "full"], "blocks": 1, "norm": "layer"},
    "unet-group-patch": {
        "kind": "unet",
        "channels": [32, 64],
        "attention": ["none", "full"],
        "patch": 2,
        "blocks": 1,
    },
    "plain": {"kind": "plain", "channels": [16, 32]},
    "fully_connected": {"kind": "fully_connected", "widths": [128, 64]},
}


def _run(network: str, precision: str, shape: tuple[int, int, int] = (1, 9, 12), classes: int = 3) -> Run:
    values = {
        "recipe": "test",
        "data": {"source": "digits"},
        "network": NETWORKS[network],
        "diffusion": {"parameterization": "v"},
        "training": {"images": 1, "precision": precision},
        "sampling": {"steps": 10, "guidance": 0.5 if classes else 0.0, "eta": 0.5},
        "images": ImagesInfo(shape=shape, classes=tuple("abcdefg"[:classes]), fingerprint="x"),
    }
    config = checked(values)
    denoiser = build_denoiser(config).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    for parameter in denoiser.parameters():
        if not parameter.any():
            parameter.normal_(std=0.1)
    return Run(config, denoiser)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_an_image_does_not_change_with_its_company(network: str, precision: str) -> None:
    run = _run(network, precision)
    labels = [i % 3 for i in range(9)]
    whole = run.sample(9, label=labels, batch=9)
    others = [run.sample(9, label=labels, batch=batch) for batch in (1, 3, 8)]
    few = run.sample(4, label=labels[:4])
    later = run.sample(3, label=labels[2:5], seed=2)
    exact = resolve_precision(precision, torch.device("cpu")) == "bf16"
    for images, part in [*((other, slice(None)) for other in others), (few, slice(4)), (later, slice(2, 5))]:
        if exact:
            assert torch.equal(images.bytes(), whole.bytes()[part])
        else:  # matrix products take another path for one row than for many: the last bits differ
            torch.testing.assert_close(images.tensor, whole.tensor[part], rtol=0, atol=1e-4)
            assert (images.bytes().int() - whole.bytes()[part].int()).abs().max() <= 1
    assert not torch.equal(whole.bytes()[0], whole.bytes()[3])


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("shape", [(3, 28, 28), (4, 20, 36), (7, 97, 61)], ids=str)
def test_any_channels_and_size_are_drawn(network: str, shape: tuple[int, int, int]) -> None:
    images = _run(network, "auto", shape, classes=0).sample(2, steps=2)
    assert images.tensor.shape == (2, *shape)
    assert images.tensor.isfinite().all()
    assert images.tensor.abs().max() <= 1
    assert not torch.equal(images.tensor[0], images.tensor[1])


def test_a_model_file_is_the_model(tmp_path: Path) -> None:
    run = _run("unet", "float32")
    path = tmp_path / "model.safetensors"
    save_model(path, run.config, run.denoiser)
    again = load(path)
    assert again.config == run.config
    torch.testing.assert_close(again.sample(2).tensor, run.sample(2).tensor)
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_model_of_a_gpu_in_fp16_is_drawn_on_a_cpu() -> None:
    assert _run("unet", "fp16").sample(1, steps=2).tensor.isfinite().all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 2000}, "2000 steps were asked for, and the model's schedule has 1000"),
        ({"eta": 1.5}, "eta of sampling cannot be 1.5"),
        ({"stepz": 5}, "did you mean 'steps'"),
        ({"label": 3}, "out of range"),
        ({"label": "x"}, "No label is called 'x'"),
        ({"label": [1, 2]}, "2 labels were given for 4 images"),
        ({"n": 0}, "at least 1"),
        ({"variance": "large"}, "variance of sampling belongs to the sampler ddpm"),
        ({"sampler": "plms", "churn": 3}, "churn of sampling belongs to the sampler euler or heun"),
        ({"sampler": "plms", "eta": 0.5}, "eta of sampling belongs to the sampler ddim"),
        ({"sampler": "heun", "churn_min": 3, "churn_max": 2}, "churn_min, 3, lies above churn_max, 2"),
        ({"sampler": "unipc", "order": 4}, "order of sampling cannot be 4"),
        ({"schedule": "linear", "steps": 1001}, "the linear schedule has 1000"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        _run("fully_connected", "auto").sample(**{"n": 4, **options})


def test_guidance_asked_of_an_unconditional_model_is_refused() -> None:
    run = _run("fully_connected", "auto", classes=0)
    with pytest.raises(InputError, match="Guidance needs a model that was trained with labels"):
        run.sample(1, guidance=2.0)
    with pytest.raises(InputError, match="without labels"):
        run.sample(1, label=0)


def test_a_model_whose_labels_were_never_hidden_is_asked_with_them_alone() -> None:
    run = _run("fully_connected", "auto")
    training = run.config.training.model_copy(update={"label_dropout": 0.0})
    run.config = run.config.model_copy(update={"training": training})
    with pytest.raises(InputError, match=r"Guidance above 0 needs training\.label_dropout above 0"):
        run.sample(1)
    with pytest.raises(InputError, match=r"Cleaning needs training\.label_dropout above 0"):
        run.clean(torch.zeros(1, 1, 9, 12), 0.5)
    assert run.sample(1, steps=2, guidance=0.0).tensor.isfinite().all()


def test_without_a_label_the_classes_come_in_turn() -> None:
    images = _run("fully_connected", "auto").sample(7, steps=2)
    assert images.labels is not None
    assert images.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_a_seed_makes_its_image_whatever_its_place() -> None:
    run = _run("fully_connected", "auto", classes=0)
    assert torch.equal(run.sample(4, seed=10).bytes()[3], run.sample(1, seed=13).bytes()[0])


@pytest.mark.parametrize("sampler", samplers)
@pytest.mark.parametrize("schedule", [None, "flow", "ve"])
def test_every_sampler_draws_on_any_schedule(sampler: str, schedule: str | None) -> None:
    images = _run("fully_connected", "float32").sample(3, steps=4, sampler=sampler, schedule=schedule)
    assert images.tensor.isfinite().all()
    assert images.tensor.std() > 0.05


def test_options_reach_their_samplers() -> None:
    for options in ({"sampler": "heun", "churn": 2.0, "churn_max": 50.0}, {"sampler": "unipc", "order": 2}):
        config = SamplingConfig.model_validate({"steps": 7, **options})
        made = make_sampler(config, cosine())
        if isinstance(made, Churn):
            assert made.sampler == Heun()
            assert (made.s_churn, made.steps, made.s_tmax) == (2.0, 7, 50.0)
        else:
            assert made == UniPC(2)
    assert make_sampler(SamplingConfig(sampler="euler"), cosine()) == Euler()
    assert set(SAMPLER_OPTIONS) <= set(samplers)
    assert {option for options in SAMPLER_OPTIONS.values() for option in options} < set(
        SamplingConfig.model_fields
    )


def test_sampling_on_the_trained_schedule_by_name_changes_nothing() -> None:
    run = _run("fully_connected", "float32")
    assert run.config.diffusion.schedule.name == "cosine"
    again = run.sample(3, schedule="cosine")
    torch.testing.assert_close(again.tensor, run.sample(3).tensor, rtol=0, atol=1e-4)


@pytest.mark.parametrize("schedule", [None, "ve"])
def test_inverted_images_come_back(schedule: str | None) -> None:
    run = _run("unet", "float32")
    images = run.sample(5, label=1, eta=0.0, guidance=0.0, steps=50).tensor * 0.5
    errors = []
    for steps in (10, 100):
        options: dict[str, Any] = {"label": 1, "steps": steps, "guidance": 0.0, "schedule": schedule}
        noise = run.invert(images, batch=2, **options)
        back = run.sample(noise=noise, eta=0.0, batch=3, **options)
        assert len(back) == 5
        errors.append((back.tensor - images).abs().mean().item())
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.1


def test_noise_and_images_of_another_shape_are_refused() -> None:
    run = _run("fully_connected", "auto")
    with pytest.raises(InputError, match="draws images of 1x9x12, and these are 1x9x9"):
        run.invert(torch.zeros(2, 1, 9, 9))
    with pytest.raises(InputError, match="draws images of 1x9x12, and these are 3x9x12"):
        run.sample(noise=torch.zeros(2, 3, 9, 12))


# Cleaning


class Gaussian(torch.nn.Module):
    """The exact denoiser of pixels drawn from N(mean, s^2), as a network that tells x0."""

    def __init__(self, schedule: Schedule, mean: float = 0.2, s: float = 0.3) -> None:
        super().__init__()
        self.exact = GaussianMixtureDenoiser(torch.tensor([[mean]]), torch.tensor([s]), torch.ones(1))
        self.schedule, self.anchor = schedule, torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: None) -> torch.Tensor:
        return self.exact(x.reshape(-1, 1), self.schedule(t[0])).x0.reshape(x.shape)


def _exact(name: str, amount: float | None = None) -> Run:
    config = _run("unet", "float32", (1, 12, 12), classes=0).config
    diffusion = DiffusionConfig(schedule=ScheduleConfig(name=name, amount=amount))
    schedule = schedules[name](**diffusion.schedule.options())
    denoiser = Denoiser(Gaussian(schedule), X0(), schedule)
    return Run(config.model_copy(update={"diffusion": diffusion}), denoiser)


@pytest.mark.parametrize("name", ["linear", "cosine", "vp", "ve", "flow"])
@pytest.mark.parametrize("sigma", [0.05, 0.5])
def test_any_model_cleans_gaussian_noise_of_any_strength(name: str, sigma: float) -> None:
    # Whatever the schedule, the best answer to y = x0 + sigma eps for pixels of N(m, s^2) is one and the same.
    y = 0.5 * torch.randn(2, 1, 40, 33, generator=torch.Generator().manual_seed(0))
    best = (0.3**2 * y + sigma**2 * 0.2) / (0.3**2 + sigma**2)
    torch.testing.assert_close(_exact(name).clean(y, sigma).tensor, best.clamp(-1, 1), rtol=1e-4, atol=1e-5)


def test_a_denoising_autoencoder_cleans_its_own_noise() -> None:
    y = 0.5 * torch.randn(1, 1, 300, 20, generator=torch.Generator().manual_seed(0))  # in two tiles
    best = (0.3**2 * y + 0.4**2 * 0.2) / (0.3**2 + 0.4**2)
    run = _exact("single", 0.4)
    torch.testing.assert_close(run.clean(y).tensor, best.clamp(-1, 1), rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="one corruption alone"):
        run.clean(y, 0.1)
    with pytest.raises(InputError, match=r"draws none; use unstir edit clean RUN IMAGE"):
        run.sample(1)
    with pytest.raises(InputError, match=r"draws none; use unstir edit clean RUN IMAGE"):
        run.invert(torch.zeros(1, 1, 12, 12))


def test_what_cannot_be_cleaned_is_refused() -> None:
    y = torch.zeros(1, 1, 12, 12)
    with pytest.raises(InputError, match="say how noisy"):
        _exact("cosine").clean(y)
    with pytest.raises(InputError, match=r"trained on noise with a sigma of 1.28 to .* of 255, and this is 1.15"):
        _exact("linear").clean(y, 0.009)
    with pytest.raises(InputError, match="have 1 channels, and this one has 3"):
        _exact("cosine").clean(torch.zeros(1, 3, 12, 12), 0.5)
    with pytest.raises(InputError, match=r"13 pixels wide and 9 high, .* takes 12 by 9 alone"):
        _run("fully_connected", "auto").clean(torch.zeros(1, 1, 9, 13), 0.5)


@pytest.mark.parametrize("network", ["unet", "unet-group-patch", "plain"])
def test_convolutional_networks_clean_any_size(network: str) -> None:
    run = _run(network, "auto")
    for height, width in ((5, 31), (40, 17)):
        cleaned = run.clean(torch.rand(1, 1, height, width), 0.3).tensor
        assert cleaned.shape == (1, 1, height, width) and cleaned.isfinite().all()
