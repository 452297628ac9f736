"""A system of one's own, defined here and nowhere in the package: what CONTRIBUTING says is all that it takes.

Two networks learn in two turns; they are told a label, token states and a picture, and use a frozen part. The run
is killed, resumed, saved, loaded, drawn from and moved like any other. Run as a program, this file trains it.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import unstir
from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData, Splits
from unstir.errors import InputError
from unstir.models.config import FrozenPart, ModelConfig, systems
from unstir.models.drawing import Drawing, Order
from unstir.models.file import save
from unstir.models.model import Batch, Examples, Model
from unstir.models.systems import ClassifierConfig
from unstir.networks.conditioner import Conditioner
from unstir.networks.told import Told
from unstir.processes import leave
from unstir.sampling import SeededNoise
from unstir.training import learner, loop
from unstir.training.config import Config, TrainingConfig
from unstir.training.loop import train

WIDTH = 12


@systems.add
class ToyConfig(ModelConfig):
    """A painter and a critic."""

    about: ClassVar[str] = "a toy"
    verbs: ClassVar[tuple[str, ...]] = ("draw",)

    kind: Literal["toy"] = "toy"
    hidden: int = 16

    @property
    def needs(self) -> tuple[str, ...]:
        return ("eye",)

    def build(self, parts: Mapping[str, Model]) -> Model:
        return Toy(self, parts)


class Toy(Drawing):
    """The painter makes an image of noise and what it is told; the critic foretells how the eye sees its error."""

    turns = ("painter", "critic")
    config: ToyConfig

    def __init__(self, config: ToyConfig, parts: Mapping[str, Model]) -> None:
        super().__init__(config, parts)
        pixels = int(np.prod(config.samples.shape))
        self.conditioner = Conditioner(config.told, WIDTH, WIDTH)
        known = pixels * (1 + self.conditioner.image_channels) + 2 * WIDTH
        self.painter = nn.Sequential(nn.Linear(known, config.hidden), nn.SiLU(), nn.Linear(config.hidden, pixels))
        self.critic = nn.Sequential(nn.Linear(pixels, config.hidden), nn.SiLU(), nn.Linear(config.hidden, 1))
        self.errors = torch.zeros(2)  # how many were seen, and their sum

    def prepare(self, examples: Examples, generator: torch.Generator) -> Batch:
        x, _ = examples
        told = self.part_hidden(examples, generator)
        return Batch(x=x, z=torch.randn(x.shape, generator=generator), **told)

    def learning(self, turn: str) -> list[nn.Parameter]:
        learns = [self.critic] if turn == "critic" else [self.painter, self.conditioner]
        return [parameter for module in learns for parameter in module.parameters()]

    def paint(self, z: Tensor, condition: Any) -> Tensor:
        told = self.conditioner(condition, z)
        seen = [told.with_image(z).flatten(1), told.vector, told.tokens.mean(1)]
        return self.painter(torch.cat(seen, dim=1)).view(z.shape).tanh()

    def losses(self, turn: str, batch: Batch, average: Model) -> dict[str, Tensor]:
        painted = self.paint(batch["z"], batch["condition"])
        with torch.no_grad():
            before = average.paint(batch["z"], batch["condition"])  # type: ignore[operator]
        error = ((painted - batch["x"]) ** 2).flatten(1).mean(1).float()
        if turn == "painter":
            steady = ((painted - before) ** 2).flatten(1).mean(1).float()
            return {"paint": error + 0.1 * steady, "steady": steady}
        with torch.no_grad():
            eye = self.parts["eye"]
            seen = (eye.features(painted.float()) - eye.features(batch["x"])).square().mean(1)  # type: ignore[operator]
        return {"critic": (self.critic(painted.detach().flatten(1))[:, 0].float() - seen).square()}

    def memory(self) -> dict[str, Tensor]:
        return {"errors": self.errors}

    def observe(self, turn: str, batch: Batch, losses: Mapping[str, Tensor]) -> None:
        if turn == "painter":
            self.errors += torch.tensor([len(batch["x"]), float(losses["paint"].sum())])

    def walk(self, order: Order) -> Iterator[Tensor]:
        like = torch.empty(len(order.seeds), *self.config.samples.shape)
        yield self.paint(SeededNoise(order.seeds)(like), order.condition)


def data() -> Splits:
    """Digits with token states and a picture for each, all of which say something of the image."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images / 16 * 255).astype(np.uint8)[:, None]
    words = np.stack([digits.images.mean(1), digits.images.mean(2)], axis=1).astype(np.float32) / 16
    columns = {"words": words, "sketch": pixels[:, :, ::2, ::2]}
    parts = (
        ImageData.from_array(
            pixels[rows], digits.target[rows], name="toys", columns={k: v[rows] for k, v in columns.items()}
        )
        for rows in (slice(0, 1500), slice(1500, None))
    )
    return Splits(*parts)


def config(images: int = 64 * 40) -> Config:
    return Config(
        recipe="toy",
        data=DataConfig(source="digits", flip=True),
        training=TrainingConfig(images=images, batch=64, learning_rate=3e-3, log_every=5, warmup=5),
        model=ToyConfig(
            told={
                "label": Told(kind="classes", dropout=0.1),
                "words": Told(kind="embedding", socket="tokens", dropout=0.3),
                "sketch": Told(kind="picture", dropout=0.3),
            },
            parts={"eye": FrozenPart(path="../eye")},
            precision="float32",
        ),
    )


def eye(out: Path) -> None:
    """Train the frozen part: a classifier, for a moment."""
    seen = TrainingConfig(images=64 * 4, batch=64, log_every=2)
    train(Config(recipe="eye", data=DataConfig(source="digits"), training=seen, model=ClassifierConfig()), out,
          data(), time.monotonic())  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the part and a run that was not stopped."""
    folder = tmp_path_factory.mktemp("toy")
    eye(folder / "eye")
    run(folder / "toy")
    return folder


def run(out: Path) -> None:
    subprocess.run([sys.executable, __file__, str(out)], check=True, timeout=300)


def test_it_learns_in_both_turns_and_logs_all_losses(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / "toy" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 40
    for name in ("paint", "steady", "critic", "gradient_norm_painter", "gradient_norm_critic"):
        assert all(name in line for line in lines)
    assert "validation_paint" in lines[-1] and "validation_critic" in lines[-1]
    assert lines[-1]["paint"] < 0.7 * lines[0]["paint"]
    assert list((whole / "toy" / "samples").glob("*.png"))


@pytest.mark.slow
def test_killed_and_resumed_it_is_bit_for_bit_the_same(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "eye", tmp_path / "eye")
    out = tmp_path / "toy"
    for _ in range(2):  # killed twice, wherever it then is after a checkpoint
        process = subprocess.Popen([sys.executable, __file__, str(out), "slowly"])
        before = {path.name for path in out.glob("checkpoints/step-*")}
        while {path.name for path in out.glob("checkpoints/step-*")} <= before:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(out)
    for name in ("checkpoints/step-000000040.safetensors", "model.safetensors"):
        ours, theirs = load_file(out / name), load_file(whole / "toy" / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert float(ours["painter.0.weight"].abs().sum()) > 0
    memory = load_file(out / "checkpoints/step-000000040.safetensors")["memory.errors"]
    assert memory[0] == 64 * 40 and memory[1] > 0  # every image of every step, seen once


@pytest.mark.slow
def test_two_processes_learn_what_one_does(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "eye", tmp_path / "eye")
    out = tmp_path / "toy"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    subprocess.run([*torchrun, __file__, str(out)], check=True, timeout=300, capture_output=True)
    name = "checkpoints/step-000000040.safetensors"
    ours, theirs = (load_file(folder / name) for folder in (out, whole / "toy"))
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():  # sums over the batch come in another order
        torch.testing.assert_close(ours[key], value, rtol=1e-4, atol=1e-6)


def test_it_is_loaded_drawn_and_told(whole: Path) -> None:
    model = unstir.load(whole / "toy")
    drawn = model.sample(6, label=3, seed=5)
    one = next(model.draw([2], label=3, seed=5)).tensor  # a product of few rows goes another way
    torch.testing.assert_close(drawn.tensor[2:3], one, rtol=0, atol=1e-5)
    _, told = data().held_out.examples(np.arange(6))
    others = {name: torch.as_tensor(told[name]) for name in ("words", "sketch")}
    assert not torch.equal(model.sample(6, label=3, seed=5, told=others).tensor, drawn.tensor)
    for name, value in others.items():  # each by itself
        assert not torch.equal(model.sample(6, label=3, seed=5, told={name: value}).tensor, drawn.tensor)
    with pytest.raises(InputError, match="told no 'colour'"):
        model.sample(2, told={"colour": torch.zeros(2)})
    with pytest.raises(InputError, match="takes no steps"):
        model.sample(2, steps=5)


def test_it_moves_with_its_part_or_alone_as_one_file(whole: Path, tmp_path: Path) -> None:
    drawn = unstir.load(whole / "toy").sample(4).tensor
    shutil.copytree(whole, tmp_path / "elsewhere")
    moved = unstir.load(tmp_path / "elsewhere" / "toy")
    assert torch.equal(moved.sample(4).tensor, drawn)
    save(tmp_path / "alone" / "toy.safetensors", moved, whole=True)
    shutil.rmtree(tmp_path / "elsewhere")
    alone = unstir.load(tmp_path / "alone" / "toy.safetensors")
    assert torch.equal(alone.sample(4).tensor, drawn)
    x = torch.randn(2, 1, 8, 8)
    expected = unstir.load(whole / "eye").embed(x)
    assert torch.equal(alone.parts["eye"].embed(x), expected)


def test_without_its_part_or_with_another_it_is_refused_in_a_sentence(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "toy", tmp_path / "toy")
    with pytest.raises(InputError, match=r"The part 'eye' of the model cannot be used: There is no .*eye"):
        unstir.load(tmp_path / "toy")
    eye_again = Config(
        recipe="eye", seed=1, data=DataConfig(source="digits"),
        training=TrainingConfig(images=64, batch=64), model=ClassifierConfig(),
    )  # fmt: skip
    train(eye_again, tmp_path / "eye", data(), time.monotonic())
    with pytest.raises(InputError, match=r"The part 'eye' of the model, .*, has changed since"):
        unstir.load(tmp_path / "toy")


if __name__ == "__main__":
    torch.set_num_threads(1)
    loop.CHECKPOINT_SECONDS = 0.0
    if sys.argv[2:]:
        step = learner.Learner.step

        def slowly(self: Any, rate: float) -> Any:
            time.sleep(0.05)
            return step(self, rate)

        learner.Learner.step = slowly  # type: ignore[method-assign]
    train(config(), Path(sys.argv[1]), data(), time.monotonic())
    leave(0)
