"""What a denoiser is trained on, and what it can be asked for beside drawing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from unstir.diffusion import Denoiser, GridSchedule, Schedule
from unstir.diffusion.config import DiffusionConfig, ScheduleConfig
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.parameterization import X0
from unstir.diffusion.schedule import vp
from unstir.diffusion.times import Importance, time_distributions
from unstir.errors import InputError
from unstir.models.denoiser import DenoiserModel, levels_at
from unstir.models.model import Batch
from unstir.models.systems import ClassifierConfig, DenoiserConfig
from unstir.networks.told import Told
from unstir.sampling import SeededNoise

MakeModel = Callable[..., DenoiserModel]


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _prepared(model: DenoiserModel, size: int = 64, seed: int = 0) -> Batch:
    """Return what a step needs of random images, labelled in turn."""
    images = torch.rand(size, *model.config.samples.shape, generator=_seeded(1)) * 2 - 1
    return model.prepare((images, {"label": torch.arange(size) % 3}), _seeded(seed))


# What a step sees


def test_times_are_stratified(make_model: MakeModel) -> None:
    model = make_model(diffusion={"schedule": {"name": "vp"}})
    for seed in range(5):
        t = _prepared(model, seed=seed)["level"].t
        u = (t - model.schedule.t_min) / (1 - model.schedule.t_min)
        assert (u * 64).floor().long().tolist() == list(range(64))


def test_each_share_sees_all_times(make_model: MakeModel) -> None:
    t = _prepared(make_model(diffusion={"schedule": {"name": "vp"}})).share(1, 2)["level"].t
    assert t.min() < 0.05
    assert t.max() > 0.95


@pytest.mark.parametrize("schedule", ["cosine", "ladder"])
@pytest.mark.parametrize("times", sorted(time_distributions))
def test_discrete_levels_are_exact_grid_points(times: str, schedule: str, make_model: MakeModel) -> None:
    model = make_model(diffusion={"schedule": {"name": schedule, "steps": 37}, "times": times})
    assert isinstance(model.schedule, GridSchedule)
    level = _prepared(model, 500)["level"]
    n = (level.t * 37).round().long()
    assert n.min() >= 1
    assert n.max() <= 37
    exact = model.schedule.level(n)
    assert torch.equal(level.t, exact.t)
    assert torch.equal(level.alpha, exact.alpha)
    assert torch.equal(level.sigma, exact.sigma)
    if times == "uniform":
        assert torch.bincount(n, minlength=38)[1:].min() >= 12  # 500 / 37 = 13.5 of each, stratified


def test_continuous_levels_are_the_schedules() -> None:
    t = torch.tensor([0.1, 0.77], dtype=torch.float64)
    assert torch.equal(levels_at(vp(), t).alpha, vp()(t).alpha)


@pytest.mark.parametrize("p", [0.0, 0.1, 1.0])
def test_what_is_told_is_hidden_as_often_as_asked(p: float, make_model: MakeModel) -> None:
    model = make_model(told={"label": Told(kind="classes", dropout=p)}, sampling={})
    hidden = _prepared(model, 4000)["condition"].parts["label"][1]
    assert hidden.float().mean().item() == pytest.approx(p, abs=0.02 if 0 < p < 1 else 0)


def test_a_model_that_is_told_nothing_sees_no_labels(make_model: MakeModel) -> None:
    assert {*_prepared(make_model(classes=0))} == {"x0", "eps", "level"}


def test_what_a_part_sees_of_the_images_is_told(make_model: MakeModel) -> None:
    shape = (1, 9, 12)
    encoder = ClassifierConfig().seeing(shape, {"label": {"kind": "classes", "classes": ("a", "b")}}).build({})
    encoder = encoder.eval().requires_grad_(False)
    told = {"seen": Told(kind="embedding", of="encoder", width=64, dropout=0.5)}
    config = make_model().config.model_copy(update={"told": told})
    model = config.build({"encoder": encoder})
    images = torch.rand(20, *shape, generator=_seeded()) * 2 - 1
    condition = model.prepare((images, {"label": torch.zeros(20)}), _seeded())["condition"]
    seen, hidden = condition.parts["seen"]
    assert condition.names == ("seen",)
    torch.testing.assert_close(seen, encoder.embed(images).float())  # type: ignore[operator]
    assert 0 < hidden.sum() < 20


def test_the_loss_is_the_objective_under_the_condition(make_model: MakeModel) -> None:
    model = make_model("unet")
    batch = _prepared(model, 6)
    with torch.no_grad():
        losses = model.losses("main", batch, model)
        assert {*losses} == {"loss"}
        x = batch["level"].alpha[:, None, None, None] * batch["x0"]
        x = (x + batch["level"].sigma[:, None, None, None] * batch["eps"]).float()
        error = model.denoiser(x, batch["level"], batch["condition"]).eps - batch["eps"]
        torch.testing.assert_close(losses["loss"], error.square().flatten(1).mean(1), rtol=1e-4, atol=1e-5)
        batch["condition"] = batch["condition"].hide()
        assert not torch.allclose(model.losses("main", batch, model)["loss"], losses["loss"], rtol=1e-3)


def test_importance_is_observed_weighted_and_kept_in_memory(make_model: MakeModel) -> None:
    model = make_model(diffusion={"schedule": {"name": "linear", "steps": 8}, "times": "importance"}).train()
    assert isinstance(model.times, Importance)
    assert {*model.memory()} == {"losses", "counts"}
    assert model.memory()["losses"] is model.times.losses
    batch = _prepared(model, 96)
    assert (batch["weight"] == 1).all()
    assert torch.bincount((batch["level"].t * 8).round().long())[1:].tolist() == [12] * 8
    unweighted = batch["level"].t.float()  # eight times as large at the last level as at the first
    model.observe("main", batch, {"loss": torch.zeros(96), "unweighted_loss": unweighted})
    assert model.times.counts.tolist() == [12] * 8
    later = _prepared(model, 960)
    n = (later["level"].t * 8).round().long()
    expected = torch.arange(1, 9) / 36
    assert (torch.bincount(n, minlength=9)[1:] / 960 - expected).abs().max() < 0.01
    torch.testing.assert_close(later["weight"], 36 / (8 * n.double()), rtol=0.02, atol=0)
    with torch.no_grad():
        losses = model.losses("main", later, model)
    assert [*losses] == ["loss", "unweighted_loss"]  # the first descends
    torch.testing.assert_close(losses["loss"], losses["unweighted_loss"] * later["weight"].float())
    even = _prepared(model.eval(), 96)  # held-out losses are of all levels alike
    assert "weight" not in even
    assert torch.bincount((even["level"].t * 8).round().long())[1:].tolist() == [12] * 8


def test_levels_that_are_not_drawn_by_importance_leave_no_memory(make_model: MakeModel) -> None:
    model = make_model()
    assert model.memory() == {}
    model.observe("main", _prepared(model, 4), {"loss": torch.zeros(4)})


def test_the_objective_knows_the_deviation_of_the_images(make_model: MakeModel) -> None:
    values = {"parameterization": "karras", "objective": "karras", "sigma_data": 0.25}
    model = make_model(diffusion=values)
    assert isinstance(model.schedule, GridSchedule)
    level = model.schedule.level(500)
    torch.testing.assert_close(model.objective.weight(level), level.snr + 16)  # type: ignore[attr-defined]


# Inverting


@pytest.mark.parametrize("schedule", [pytest.param(None, marks=pytest.mark.slow), "ve"])
def test_inverted_images_come_back(schedule: str | None, make_model: MakeModel) -> None:
    model = make_model("unet")
    images = model.sample(5, label=1, eta=0.0, guidance=0.0, steps=20).tensor * 0.5
    errors = []
    for steps in (10, 50):
        options: dict[str, Any] = {"label": 1, "steps": steps, "guidance": 0.0, "schedule": schedule}
        noise = model.invert(images, batch=2, **options)
        back = model.sample(noise=noise, eta=0.0, batch=3, **options)
        assert len(back) == 5
        errors.append((back.tensor - images).abs().mean().item())
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.2


def test_labels_of_inverted_images_are_by_their_places(make_model: MakeModel) -> None:
    model = make_model("unet")
    images = torch.rand(5, 1, 9, 12, generator=_seeded()) - 0.5
    options: dict[str, Any] = {"steps": 5, "guidance": 0.0}
    whole = model.invert(images, label=[2, 0, 1, 1, 0], batch=2, **options)
    for i, label in enumerate([2, 0, 1, 1, 0]):
        alone = model.invert(images[i : i + 1], label=label, **options)
        torch.testing.assert_close(alone, whole[i : i + 1], rtol=0, atol=1e-3)
    in_turn = model.invert(images, batch=2, **options)
    torch.testing.assert_close(in_turn, model.invert(images, label=[0, 1, 2, 0, 1], **options), rtol=0, atol=1e-3)
    assert (in_turn - whole).abs().max() > 0.05


def test_images_of_another_shape_are_refused(make_model: MakeModel) -> None:
    model = make_model(precision="auto")
    with pytest.raises(InputError, match="images are 1x9x12, and these are 1x9x9"):
        model.invert(torch.zeros(2, 1, 9, 9))
    with pytest.raises(InputError, match="samples are 1x9x12, and these are 3x9x12"):
        model.sample(noise=torch.zeros(2, 3, 9, 12))


# Cleaning


class Gaussian(torch.nn.Module):
    """The exact denoiser of pixels drawn from N(mean, s^2), as a network that tells x0."""

    def __init__(self, schedule: Schedule, mean: float = 0.2, s: float = 0.3) -> None:
        super().__init__()
        self.exact = GaussianMixtureDenoiser(torch.tensor([[mean]]), torch.tensor([s]), torch.ones(1))
        self.schedule, self.anchor = schedule, torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor, sockets: None) -> Tensor:
        return self.exact(x.reshape(-1, 1), self.schedule(t[0])).x0.reshape(x.shape)


def _exact(make_model: MakeModel, name: str, amount: float | None = None) -> DenoiserModel:
    diffusion = DiffusionConfig(schedule=ScheduleConfig(name=name, amount=amount))
    model = make_model("unet", shape=(1, 12, 12), classes=0, diffusion=diffusion)
    model.denoiser = Denoiser(Gaussian(model.schedule), X0(), model.schedule)
    return model


@pytest.mark.parametrize("name", ["linear", "cosine", "vp", "ve", "flow"])
@pytest.mark.parametrize("sigma", [0.05, 0.5])
def test_any_model_cleans_gaussian_noise_of_any_strength(name: str, sigma: float, make_model: MakeModel) -> None:
    # Whatever the schedule, the best answer to y = x0 + sigma eps for pixels of N(m, s^2) is one and the same.
    y = 0.5 * torch.randn(2, 1, 40, 33, generator=_seeded())
    best = (0.3**2 * y + sigma**2 * 0.2) / (0.3**2 + sigma**2)
    cleaned = _exact(make_model, name).clean(y, sigma).tensor
    torch.testing.assert_close(cleaned, best.clamp(-1, 1), rtol=1e-4, atol=1e-5)


def test_a_denoising_autoencoder_cleans_its_own_noise(make_model: MakeModel) -> None:
    y = 0.5 * torch.randn(1, 1, 300, 20, generator=_seeded())  # in two tiles
    best = (0.3**2 * y + 0.4**2 * 0.2) / (0.3**2 + 0.4**2)
    model = _exact(make_model, "single", 0.4)
    torch.testing.assert_close(model.clean(y).tensor, best.clamp(-1, 1), rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="one corruption alone"):
        model.clean(y, 0.1)
    can = r"denoising autoencoder, .* cannot {}: it can clean images \(unstir edit clean RUN IMAGE\)"
    with pytest.raises(InputError, match=can.format("draw images")):
        model.sample(1)
    with pytest.raises(InputError, match=can.format("draw images")):
        model.draw([0])
    with pytest.raises(InputError, match=can.format("find the noise of an image")):
        model.invert(torch.zeros(1, 1, 12, 12))


def test_what_cannot_be_cleaned_is_refused(make_model: MakeModel) -> None:
    y = torch.zeros(1, 1, 12, 12)
    with pytest.raises(InputError, match="say how noisy"):
        _exact(make_model, "cosine").clean(y)
    with pytest.raises(InputError, match=r"trained on noise with a sigma of 1.28 to .* of 255, and this is 1.15"):
        _exact(make_model, "linear").clean(y, 0.009)
    with pytest.raises(InputError, match="have 1 channels, and this one has 3"):
        _exact(make_model, "cosine").clean(torch.zeros(1, 3, 12, 12), 0.5)
    with pytest.raises(InputError, match=r"13 pixels wide and 9 high, .* takes 12 by 9 alone"):
        make_model(precision="auto").clean(torch.zeros(1, 1, 9, 13), 0.5)


@pytest.mark.parametrize("network", ["unet", "unet-group-patch", "plain"])
@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_convolutional_networks_clean_any_size(network: str, precision: str, make_model: MakeModel) -> None:
    """By hand: on the preserving process x = (x0 + sigma eps) alpha, and the network tells v."""
    model, sigma = make_model(network, precision, classes=0), 0.3
    alpha = (1 + sigma**2) ** -0.5
    level = model.schedule(model.schedule.time(-2 * math.log(sigma)))
    assert float(level.alpha) == pytest.approx(alpha)
    for height, width in ((5, 31), (40, 17)):
        y = torch.rand(2, 1, height, width, generator=_seeded()) - 0.5
        with torch.no_grad():
            v = model.denoiser.network(alpha * y, level.t.float().expand(2))
        expected = (alpha * alpha * y - sigma * alpha * v).clamp(-1, 1)
        cleaned = model.clean(y, sigma).tensor
        assert expected.std() > 0.1
        if precision == "float32":
            torch.testing.assert_close(cleaned, expected, rtol=1e-4, atol=1e-4)
        assert (cleaned - expected).abs().mean() < 0.01


def test_a_model_that_always_knew_its_labels_cannot_clean(make_model: MakeModel) -> None:
    model = make_model(told={"label": Told(kind="classes", dropout=0.0)}, sampling={})
    with pytest.raises(InputError, match=r"Cleaning needs told\.label\.dropout above 0"):
        model.clean(torch.zeros(1, 1, 9, 12), 0.5)


@pytest.mark.parametrize("corruption", ["gaussian", "masking", "salt_and_pepper"])
def test_images_are_corrupted_as_in_training(corruption: str, make_model: MakeModel) -> None:
    diffusion = {
        "schedule": {"name": "single", "amount": 0.4},
        "corruption": corruption,
        "parameterization": "x0",
        "objective": "x0",
    }
    model = make_model(diffusion=diffusion, classes=0)
    images = torch.rand(4, 1, 9, 12, generator=_seeded())
    corrupted = model.corrupted(images)
    assert torch.equal(model.corrupted(images[:2]), corrupted[:2])
    if corruption == "gaussian":
        torch.testing.assert_close(corrupted, images + 0.4 * SeededNoise(range(4))(images))
    changed = corrupted != images
    assert changed.float().mean() == (1 if corruption == "gaussian" else pytest.approx(0.4, abs=0.06))
    if corruption == "masking":
        assert (corrupted[changed] == -1).all()
    if corruption == "salt_and_pepper":
        assert (corrupted[changed].abs() == 1).all()
        assert corrupted[changed].mean().abs() < 0.25


def test_a_configuration_builds_its_model() -> None:
    config = DenoiserConfig(told={"label": Told(kind="numbers")}).tiny()
    config = config.seeing((2, 8, 8), {"label": {"kind": "numbers", "width": 2}})
    model = config.build({})
    assert isinstance(model, DenoiserModel)
    assert model.config is config
    shown = model.denoiser.conditioner.encoders["label"].encode[0]  # type: ignore[index, union-attr]
    assert shown.in_features == 2
    x = torch.randn(3, 2, 8, 8, generator=_seeded())
    told = model.condition({"label": torch.randn(3, 2, generator=_seeded(1))})
    prediction = model.denoiser(x, model.schedule(0.5), told)
    # Untrained, its network tells nothing: the noise is 0, and the image is x without its scale.
    assert (prediction.eps == 0).all()
    torch.testing.assert_close(prediction.x0, x / float(model.schedule(0.5).alpha))
