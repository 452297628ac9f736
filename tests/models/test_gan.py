from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import logsigmoid

from unstir.data.config import DataConfig
from unstir.data.load import load
from unstir.models.config import SampleInfo
from unstir.models.gan import GAN, squared_slope
from unstir.models.model import Batch
from unstir.models.systems import GANConfig
from unstir.networks.told import Told
from unstir.training import learner, loop
from unstir.training.config import Config, TrainingConfig
from unstir.training.learner import Learner
from unstir.training.loop import train

LABEL = Told(kind="classes", classes=("a", "b", "c"))
SHAPE = (1, 6, 9)


def make(told: dict[str, Told] | None = None, r1: float = 1.0, precision: str = "float32") -> GAN:
    """Return a tiny one whose every layer has weights."""
    told = {"label": LABEL} if told is None else told
    config = GANConfig(told=told, samples=SampleInfo(shape=SHAPE), precision=precision, r1=r1).tiny()
    torch.manual_seed(0)
    model = config.build({})
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return model  # type: ignore[return-value]


def batch_for(model: GAN, count: int = 6) -> Batch:
    x = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return model.prepare((x, {"label": torch.arange(count) % 3}), torch.Generator().manual_seed(0))


def test_r1_of_a_linear_discriminator_is_its_squared_weights():
    weights = torch.randn(1, 6, 9, requires_grad=True)
    x = torch.randn(4, 1, 6, 9, requires_grad=True)
    r1 = squared_slope((x * weights).flatten(1).sum(1) + 0.7, x)
    torch.testing.assert_close(r1, weights.square().sum().expand(4))
    (gradient,) = torch.autograd.grad(r1.mean(), weights)
    torch.testing.assert_close(gradient, 2 * weights)


def test_r1_is_each_images_own():
    x = torch.randn(4, 1, 2, 2, requires_grad=True)
    torch.testing.assert_close(squared_slope(x.flatten(1).square().sum(1), x), 4 * x.square().flatten(1).sum(1))


def test_losses_are_the_ones_written_down():
    model = make(r1=3.0)
    batch = batch_for(model)
    condition = batch["condition"]
    found = model.losses("discriminator", batch, model)
    x = batch["x"].clone().requires_grad_()
    real = model.discriminator(x, condition)
    fake = model.discriminator(model.generator(batch["z_discriminator"], condition), condition)
    apart = -(logsigmoid(real) + logsigmoid(-fake))  # -log sigmoid(D(x)) - log (1 - sigmoid(D(G(z))))
    (slope,) = torch.autograd.grad(real.sum(), x)
    r1 = slope.square().sum((1, 2, 3))
    torch.testing.assert_close(found["discriminator"], apart, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["r1"], r1, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found["discriminator_loss"], apart + 1.5 * r1, rtol=1e-4, atol=1e-5)
    assert next(iter(found)) == "discriminator_loss"
    drawn = model.generator(batch["z_generator"], condition)
    expected = -logsigmoid(model.discriminator(drawn, condition))
    torch.testing.assert_close(model.losses("generator", batch, model)["generator"], expected)
    assert not torch.equal(batch["z_generator"], batch["z_discriminator"])


def test_without_gradients_and_without_gamma_there_is_no_penalty():
    model = make()
    batch = batch_for(model)
    trained = model.losses("discriminator", batch, model)
    with torch.no_grad():
        measured = model.losses("discriminator", batch, model)
    assert [*measured] == ["discriminator"]
    torch.testing.assert_close(measured["discriminator"], trained["discriminator"])
    free = make(r1=0.0)
    losses = free.losses("discriminator", batch, free)
    assert [*losses] == ["discriminator"] and losses["discriminator"].requires_grad


def logits(model: GAN, batch: Batch, real: bool) -> torch.Tensor:
    with torch.no_grad():
        x = batch["x"] if real else model.generator(batch["z_generator"], batch["condition"])
        return model.discriminator(x, batch["condition"])


@pytest.mark.parametrize("turn", ["discriminator", "generator"])
def test_descending_moves_the_logits_the_right_way(turn):
    model = make(r1=0.1)
    batch = batch_for(model)
    batch["z_discriminator"] = batch["z_generator"]
    real, fake = logits(model, batch, True), logits(model, batch, False)
    loss = next(iter(model.losses(turn, batch, model).values())).mean()
    parameters = model.learning(turn)
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.data -= 0.02 * gradient
    change = logits(model, batch, False).mean() - fake.mean()
    if turn == "generator":
        assert change > 1e-4
    else:
        assert logits(model, batch, True).mean() - real.mean() - change > 1e-4


def test_the_generators_slope_does_not_vanish_where_the_discriminator_is_sure():
    model = make()
    model.discriminator.network.real.bias.data.fill_(-30.0)
    loss = model.losses("generator", batch_for(model), model)["generator"].mean()
    gradients = torch.autograd.grad(loss, model.learning("generator"))
    assert max(float(gradient.abs().max()) for gradient in gradients) > 1e-3


def test_all_parameters_have_one_turn():
    model = make()
    of = [{id(p) for p in model.learning(turn)} for turn in model.turns]
    assert not of[0] & of[1]
    assert of[0] | of[1] == {id(p) for p in model.parameters()}


def learning(precision: str = "float32") -> Learner:
    splits = load(DataConfig(source="digits"))
    config = run_config(precision)
    return Learner(config.seeing(splits.train.shape, splits.train.facts(), ""), splits)


def run_config(precision: str = "float32", images: int = 16 * 24) -> Config:
    return Config(
        recipe="test",
        data=DataConfig(source="digits"),
        training=TrainingConfig(images=images, batch=16, learning_rate=2e-3, betas=(0.0, 0.99), log_every=4),
        model=GANConfig(told={"label": Told(kind="classes", dropout=0.1)}, precision=precision).tiny(),
    )


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("turn", ["discriminator", "generator"])
def test_each_turn_changes_its_own_weights_alone(turn, precision):
    one = learning(precision)
    one.step(2e-3)  # so that nothing is at zero any more
    before = {name: p.detach().clone() for name, p in one.model.named_parameters()}
    averages = {name: p.clone() for name, p in one.average.named_parameters()}
    batch = one.model.prepare(one.splits.train.examples(list(range(16))), torch.Generator().manual_seed(0))
    one._turn(turn, batch, batch, 2e-3)
    assert all(p.grad is None for p in one.working.parameters())
    averaged = dict(one.average.named_parameters())
    changed = {name for name, p in one.model.named_parameters() if not torch.equal(p, before[name])}
    moved = {name for name, p in averaged.items() if not torch.equal(p, averages[name])}
    own = {name for name in before if name.startswith(turn)}
    assert changed == moved == own


def test_in_bfloat16_the_penalty_is_nearly_the_same_and_so_is_its_gradient():
    model = make(precision="bf16")
    batch = batch_for(model, 32)
    working = model.lowered()
    exact = model.losses("discriminator", batch, model)
    with torch.autocast("cpu", torch.bfloat16):
        rough = working.losses("discriminator", batch, model)
    for name in exact:
        assert rough[name].dtype == torch.float32
        torch.testing.assert_close(rough[name].mean(), exact[name].mean(), rtol=0.03, atol=0.01)
    slopes = []
    for losses, of in ((exact, model), (rough, working)):
        gradients = torch.autograd.grad(losses["r1"].mean(), of.learning("discriminator"), allow_unused=True)
        slopes.append(torch.cat([g.float().flatten() for g in gradients if g is not None]))
    assert torch.cosine_similarity(*slopes, dim=0) > 0.99


def test_the_penalty_is_stable_under_float16():
    """Where float16 would be used, the part that is differentiated twice is float32."""
    model = make()
    batch = batch_for(model)
    exact = model.losses("discriminator", batch, model)["r1"]
    with torch.autocast("cpu", torch.float16):
        found = model.losses("discriminator", batch, model)["r1"]
    torch.testing.assert_close(found, exact)


def test_the_same_seed_draws_the_same_image_in_any_batch():
    model = make().eval()
    images = model.sample(7, label="b", seed=4).tensor
    one = next(model.draw([5], label="b", seed=4)).tensor
    torch.testing.assert_close(one[0], images[5], atol=1e-5, rtol=0)
    z = torch.stack([torch.randn(4, generator=torch.Generator().manual_seed(4 + i)) for i in range(7)])
    torch.testing.assert_close(model.sample(noise=z, label="b").tensor, images, atol=1e-5, rtol=0)
    assert not torch.allclose(model.sample(7, label="c", seed=4).tensor, images, atol=1e-3)
    assert make(told={}).eval().sample(3).tensor.shape == (3, *SHAPE)


@pytest.mark.slow
def test_killed_and_resumed_it_is_bit_for_bit_the_same(tmp_path: Path) -> None:
    subprocess.run([sys.executable, __file__, tmp_path / "whole"], check=True, timeout=300)
    out = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, __file__, out, "slowly"])
    while not [*out.glob("checkpoints/step-*")]:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "checkpoints/step-000000024.safetensors").exists()
    subprocess.run([sys.executable, __file__, out], check=True, timeout=300)
    for name in ("checkpoints/step-000000024.safetensors", "model.safetensors"):
        ours, theirs = load_file(out / name), load_file(tmp_path / "whole" / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert {"discriminator_loss", "discriminator", "r1", "generator"} <= {*lines[0]}
    assert {"validation_discriminator", "validation_generator"} <= {*lines[-1]}
    assert "validation_r1" not in lines[-1]


if __name__ == "__main__":
    torch.set_num_threads(1)
    loop.CHECKPOINT_SECONDS = 0.0
    if sys.argv[2:]:
        step = learner.Learner.step

        def slowly(self, rate):
            time.sleep(0.05)
            return step(self, rate)

        learner.Learner.step = slowly
    train(run_config(), Path(sys.argv[1]), load(DataConfig(source="digits")), time.monotonic())
