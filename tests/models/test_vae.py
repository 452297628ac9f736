from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from unstir.errors import InputError
from unstir.models.config import SampleInfo
from unstir.models.systems import VAEConfig
from unstir.models.vae import LEAST_DEVIATION, VAE, gaussian_surprise
from unstir.networks.regularization import kl_to_standard
from unstir.networks.told import Told

LABEL = Told(kind="classes", classes=("a", "b", "c"), dropout=0.2)


def make(told: dict[str, Told] | None = None, precision: str = "float32", seed: int = 0) -> VAE:
    """Return a tiny one whose every layer has weights."""
    told = {"label": LABEL} if told is None else told
    config = VAEConfig(told=told, samples=SampleInfo(shape=(1, 6, 9)), precision=precision).tiny()
    torch.manual_seed(seed)
    model = config.build({})
    for name, parameter in model.named_parameters():
        if not parameter.any() and not name.startswith("raw"):
            torch.nn.init.normal_(parameter, std=0.2)
    return model  # type: ignore[return-value]


def examples(count: int = 6) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(count, 1, 6, 9, generator=generator) * 2 - 1, {"label": torch.arange(count) % 3}


def test_kl_is_that_of_the_distributions():
    mean, log_variance = torch.randn(2, 5, 4, dtype=torch.float64)
    theirs = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros(4), torch.ones(4))).sum(1)
    torch.testing.assert_close(kl_to_standard(mean, log_variance), theirs.double())
    assert kl_to_standard(torch.zeros(2, 3), torch.zeros(2, 3)).eq(0).all()


def test_surprise_is_minus_the_log_density():
    x, mean = torch.randn(2, 5, 4)
    theirs = -Normal(mean, 0.3).log_prob(x)
    torch.testing.assert_close(gaussian_surprise(x, mean, torch.tensor(0.3).log()), theirs)


def test_the_deviation_has_a_floor_and_is_free_above_it():
    model = make()
    for raw in (-2.0, 0.0, 1.0):
        model.raw_log_deviation.data.fill_(raw)
        assert float(model.log_deviation.detach()) == pytest.approx(raw, abs=0.04)
    model.raw_log_deviation.data.fill_(-50.0)
    assert float(model.log_deviation.detach().exp()) == pytest.approx(LEAST_DEVIATION)


@torch.no_grad()
def test_the_bound_is_the_one_computed_by_hand():
    model = make()
    model.raw_log_deviation.data.fill_(-0.7)
    batch = model.prepare(examples(), torch.Generator().manual_seed(0))
    losses = model.losses("main", batch, model)
    for i in range(6):
        row = slice(i, i + 1)
        condition = batch["condition"][row]
        mean, log_variance = model.encoder(batch["x"][row], condition)
        q, prior = Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros(4), torch.ones(4))
        z = mean + q.scale * batch["eps"][row]
        p = Normal(model.decoder(z, condition), model.log_deviation.exp())
        reconstruction = -p.log_prob(batch["x"][row]).sum() / 54
        kl = kl_divergence(q, prior).sum() / 54
        assert float(losses["reconstruction"][i]) == pytest.approx(float(reconstruction), rel=1e-4)
        assert float(losses["kl"][i]) == pytest.approx(float(kl), rel=1e-4)
        assert float(losses["loss"][i]) == pytest.approx(float(reconstruction + kl), rel=1e-4)
    assert next(iter(losses)) == "loss"


def test_the_bound_holds():
    """For a decoder that heeds z linearly, -log p(x) is known, and no encoder gets below it."""
    torch.manual_seed(0)
    weights, s = torch.randn(3, 2, dtype=torch.float64), 0.4
    x = torch.randn(3, dtype=torch.float64)
    marginal = torch.distributions.MultivariateNormal(
        torch.zeros(3).double(), weights @ weights.T + s**2 * torch.eye(3)
    )
    exact = -marginal.log_prob(x)
    precision = torch.eye(2) + weights.T @ weights / s**2
    best = torch.linalg.solve(precision, weights.T @ x / s**2)

    def bound(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
        z = mean + (log_variance / 2).exp() * torch.randn(200_000, 2).double()
        surprise = gaussian_surprise(x, z @ weights.T, torch.tensor(s).log()).sum(1).mean()
        return surprise + kl_to_standard(mean[None], log_variance[None])[0]

    tight = bound(best, -precision.diagonal().log())
    assert exact < tight < exact + 2.0
    assert bound(best + 0.3, -precision.diagonal().log()) > tight
    assert bound(best, torch.zeros(2).double()) > tight


def test_gradients_flow_through_the_drawn_code():
    """The slope of E f(z) in mean and log variance, for f = z^2: 2 mu, and exp(log variance)."""
    mean, log_variance = torch.tensor([0.7]).requires_grad_(), torch.tensor([-0.6]).requires_grad_()
    model = make(told={})
    model.encoder.forward = lambda x, condition: (  # type: ignore[method-assign, assignment]
        mean.expand(len(x), 4),
        log_variance.expand(len(x), 4),
    )
    model.decoder.forward = lambda z, condition: z[:, :1, None, None].expand(-1, 1, 6, 9)  # type: ignore[method-assign, assignment]
    model.raw_log_deviation.data.fill_(0.0)
    count = 100_000
    eps = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))
    batch = {"x": torch.zeros(count, 1, 6, 9), "eps": eps}
    losses = model.losses("main", batch, model)  # type: ignore[arg-type]
    slopes = torch.autograd.grad(losses["reconstruction"].mean(), [mean, log_variance])
    scale = float(model.log_deviation.detach().exp()) ** 2
    assert float(slopes[0]) == pytest.approx(0.7 / scale, rel=0.02)
    assert float(slopes[1]) == pytest.approx(math.exp(-0.6) / 2 / scale, rel=0.02)


def test_everything_learns():
    model = make()
    batch = model.prepare(examples(), torch.Generator().manual_seed(0))
    model.losses("main", batch, model)["loss"].mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_drawing_decodes_each_images_own_code():
    model = make().eval()
    images = model.sample(7, label="b", seed=4)
    z = torch.stack([torch.randn(4, generator=torch.Generator().manual_seed(4 + i)) for i in range(7)])
    torch.testing.assert_close(images.tensor, model.decode(z, label="b"), atol=1e-5, rtol=0)
    torch.testing.assert_close(model.sample(noise=z, label="b").tensor, images.tensor, atol=1e-5, rtol=0)
    one = next(model.draw([5], label="b", seed=4)).tensor
    torch.testing.assert_close(one[0], images.tensor[5], atol=1e-5, rtol=0)
    assert not torch.allclose(model.sample(7, label="c", seed=4).tensor, images.tensor, atol=1e-3)


def test_codes_are_the_encoders_means_and_come_back_as_images():
    model = make().eval()
    x, _ = examples()
    codes = model.encode(x, label=["a", "b", "c", "a", "b", "c"])
    expected, _ = model.encoder(x, model.condition({"label": [0, 1, 2, 0, 1, 2]}))
    torch.testing.assert_close(codes, expected)
    assert not torch.allclose(codes, model.encode(x), atol=1e-4)  # the label is hidden
    assert model.decode(codes).shape == x.shape


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda model: model.encode(torch.zeros(1, 1, 6, 6)), "samples are 1x6x9, and these are 1x6x6"),
        (lambda model: model.decode(torch.zeros(1, 5)), "latent vectors have 4 numbers, and these are 5"),
        (lambda model: model.sample(noise=torch.zeros(1, 1, 6, 9)), "have 4 numbers, and these are 1x6x9"),
        (lambda model: model.encode(examples()[0], label="d"), "No label is called 'd'"),
        (lambda model: model.sample(2, guide=lambda denoise: denoise), "leave the guide out"),
        (lambda model: model.sample(2, steps=5), "draws at once: it takes no steps"),
        (lambda model: model.config.require("classify"), "a variational autoencoder and cannot"),
    ],
)
def test_wrong_asking_is_named(ask, message):
    with pytest.raises(InputError, match=message):
        ask(make().eval())


def test_a_label_that_was_never_hidden_must_be_given():
    model = make({"label": LABEL.model_copy(update={"dropout": 0.0})}).eval()
    x, _ = examples()
    with pytest.raises(InputError, match=r"A code without a label needs told\.label\.dropout"):
        model.encode(x)
    assert model.encode(x, label=1).shape == (6, 4)
    assert make(told={}).eval().encode(x).shape == (6, 4)


def test_what_it_cannot_be_told_is_named():
    with pytest.raises(ValueError, match=r"sketch enters the socket image.*leave it out"):
        VAEConfig(told={"sketch": Told(kind="picture", width=1)})
    with pytest.raises(ValueError, match=r"label enters the socket tokens.*leave its socket out"):
        VAEConfig(told={"label": Told(kind="classes", socket="tokens")})


def test_in_bfloat16_the_bound_is_nearly_the_same():
    model = make(precision="bf16").eval()
    batch = model.prepare(examples(), torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = model.losses("main", batch, model)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model.lowered().losses("main", batch, model)
    for name, values in rough.items():
        assert values.dtype == torch.float32
        torch.testing.assert_close(values, exact[name], rtol=0.03, atol=0.01)
