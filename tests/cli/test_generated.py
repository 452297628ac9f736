"""Flags, checks, tables and settings come from configurations: a sampler and a network of this file alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
import typer
from pydantic import Field
from torch import nn

from unstir.cli import options
from unstir.cli.main import run
from unstir.networks.config import NetworkConfig, networks
from unstir.sampling.config import SamplerConfig, sampler_options, samplers


class LazyConfig(SamplerConfig):
    """Steps that go only so far: for this test.

    Twice the network's evaluations.
    """

    name: Literal["lazy"] = "lazy"
    laziness: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="the part of each step that is left out"
    )
    naps: Annotated[int, Field(gt=0)] | None = Field(None, description="how many steps are slept through")
    eta: Annotated[float, Field(ge=0, le=1)] = Field(0.25, description="no noise at all")

    def evaluations(self, steps: int) -> int:
        return 2 * steps

    def build(self, schedule: object, steps: int) -> Any:
        return Lazy(self.laziness, self.naps or 0)


class Lazy:
    """Goes from x towards the predicted image by less than DDIM does, and not at all in its first steps."""

    def __init__(self, laziness: float, naps: int) -> None:
        self.laziness, self.naps = laziness, naps

    def init(self, x: torch.Tensor, start: object) -> int:
        return 0

    def step(self, denoise: Any, x: torch.Tensor, here: Any, there: Any, state: int, noise: Any) -> Any:
        believed = denoise(x, here)
        if state < self.naps:
            return x, state + 1
        target = there.alpha * believed.x0 + there.sigma * believed.eps
        return x + (1 - self.laziness) * (target - x), state + 1


class FlatConfig(NetworkConfig):
    """One convolution, beside which the time is added: for this test."""

    kind: Literal["flat"] = "flat"
    reach: Annotated[int, Field(gt=0)] = 1

    @property
    def vector(self) -> int:
        return 6

    def build(
        self, shape: tuple[int, int, int], outputs: int = 1, image: int = 0, tokens: bool = False
    ) -> nn.Module:
        assert not tokens
        return Flat(shape[0], outputs, image, self.reach)

    def tiny(self) -> FlatConfig:
        return self.model_copy(update={"reach": 1})


class Flat(nn.Module):
    """Reads (B, C, H, W) and a vector (B, 6)."""

    def __init__(self, channels: int, outputs: int, image: int, reach: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels + image, channels * outputs, 2 * reach + 1, padding=reach)
        self.of_vector = nn.Linear(6, channels * outputs)

    def forward(self, x: torch.Tensor, t: torch.Tensor, sockets: Any = None) -> torch.Tensor:
        vector = getattr(sockets, "vector", None)
        told = 0 if vector is None else self.of_vector(vector)[:, :, None, None]
        return self.convolution(x) + told


@pytest.fixture
def known() -> Iterator[None]:
    """Both are known, and afterwards as unknown as before."""
    before = {**samplers.known}, {**networks.known}
    samplers.add(LazyConfig)
    networks.add(FlatConfig)
    options._ways.cache_clear()  # the flags of drawing are made once, from the samplers there are
    yield
    for kinds, own in zip((samplers, networks), ("lazy", "flat")):
        del kinds.known[own]
    options._ways.cache_clear()
    assert ({**samplers.known}, {**networks.known}) == before
    assert "laziness" not in sampler_options()


@pytest.fixture
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workplace)
    return workplace


@pytest.fixture
def app(known: None, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """The command as it would be were the sampler there when it starts: flags are made on import."""
    import importlib

    import unstir.cli.app as module
    import unstir.cli.sample as sampling

    fresh = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    plain = sampling.sample.__wrapped__  # type: ignore[attr-defined]
    fresh.command(name="sample")(options.with_drawing(plain))
    for name in ("train", "samplers", "edit"):
        found = importlib.import_module(f"unstir.cli.{'lists' if name == 'samplers' else name}")
        command = getattr(found, name)
        fresh.add_typer(command) if isinstance(command, typer.Typer) else fresh.command(name=name)(command)
    monkeypatch.setattr(module, "app", fresh)
    return fresh


def test_a_samplers_fields_are_flags(app: typer.Typer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sample", "--help"]) == 0
    said = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    assert "--laziness <float> lazy: the part of each step that is left out." in said
    assert "--naps <int> lazy: how many steps are slept through." in said
    assert "ddim: from 0, no fresh noise, to 1, as ddpm; lazy: no noise at all." in said
    assert "--name" not in said


def test_it_has_its_line_among_the_samplers(app: typer.Typer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["samplers"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.split()[0] == "lazy"
    assert "Steps that go only so far: for this test." in line and "Twice" not in line
    assert line.endswith("--eta --laziness --naps") or line.endswith("--laziness --naps --eta")
    assert run(["samplers", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["samplers"]
    assert {*said["lazy"]["options"]} == {"laziness", "naps", "eta"}
    assert said["ddim"]["options"] == ["eta"]


def test_its_flags_reach_it_and_are_checked(
    app: typer.Typer, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = {}
    for name, flags in {
        "plain": "--sampler ddim",
        "diligent": "--sampler lazy --laziness 0",
        "lazy": "--sampler lazy",
        "asleep": "--sampler lazy --laziness 0 --naps 2",
    }.items():
        line = f"sample runs/digits -n 3 --steps 4 {flags} --out {name}.npz --json"
        assert run(line.split()) == 0, capsys.readouterr().err
        drawn[name] = np.load(f"{name}.npz")["arr_0"].astype(int)
    said = json.loads(capsys.readouterr().out.splitlines()[-1])["sampling"]["sampler"]
    assert said == {"name": "lazy", "laziness": 0, "naps": 2, "eta": 0.25}
    # Not lazy, it is DDIM without noise; by its defaults and its flags it is another.
    assert np.abs(drawn["diligent"] - drawn["plain"]).max() <= 2
    for name in ("lazy", "asleep"):
        assert np.abs(drawn[name] - drawn["plain"]).max() > 5, name
    for flags, expected in {
        "--sampler lazy --laziness 2": "The laziness of sampling cannot be 2.0: input should be less",
        "--sampler lazy --naps 0": "The naps of sampling cannot be 0: input should be greater than 0",
        "--sampler lazy --naps few": "Invalid value for '--naps'",
        "--laziness 0.2": "belongs to the sampler lazy, and this run would be sampled by ddim: ask for lazy too",
        "--sampler heun --eta 0.2": "belongs to the sampler ddim or lazy",
        "--sampler lazi": "'lazy'",
    }.items():
        assert run(["sample", "runs/digits", *flags.split()]) == 2, flags
        assert expected in capsys.readouterr().err, flags


def test_its_fields_are_settings(app: typer.Typer, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["train", "digits", "--smoke", "--out", "runs/lazy", "--set"]
    for setting, expected in {
        "sampling.sampler=lazi": "did you mean 'lazy'?",
        "sampling.sampler.laziness=0.5": "'sampling.sampler.laziness'",
    }.items():
        assert run([*line, setting]) == 2, setting
        assert expected in capsys.readouterr().err, setting
    lazy = [*line, "sampling.sampler.laziness=0.125", "--set", "sampling.sampler=lazy"]
    assert run([*lazy, "--set", "sampling.sampler.lazyness=1"]) == 2
    assert "did you mean 'sampling.sampler.laziness'?" in capsys.readouterr().err
    assert run(lazy) == 0
    capsys.readouterr()
    assert run(["sample", "runs/lazy", "-n", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["sampling"]["sampler"]
    assert said == {"name": "lazy", "laziness": 0.125, "naps": None, "eta": 0.25}


def test_a_network_is_a_setting(app: typer.Typer, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["train", "digits", "--smoke", "--out", "runs/flat", "--set"]
    for settings, expected in {
        ("network.kind=flatt",): "did you mean 'flat'?",
        ("network.kind=flat", "network.reach=0"): "network.reach cannot be 0",
        ("network.kind=flat", "network.channels=[8]"): "No setting is called 'network.channels'",
        ("network.kind=flat", "told.label.socket=tokens"): "the socket tokens, which the network flat has not",
    }.items():
        words = [word for setting in settings for word in ("--set", setting)][1:]
        assert run([*line, *words]) == 2, settings
        assert expected in capsys.readouterr().err, settings
    assert run([*line, "network=flat", "--set", "network.reach=2"]) == 0
    # 5x5 weights and a bias, a vector of 6 to one channel, and what the conditioner makes of ten labels.
    assert "told label (10 classes)" in capsys.readouterr().out
    assert run(["sample", "runs/flat", "-n", "2", "--steps", "2", "--out", "flat.npz"]) == 0
    from unstir.models.file import load

    assert load("runs/flat").denoiser.network.convolution.kernel_size == (5, 5)  # type: ignore[union-attr]


def test_a_model_of_an_unknown_network_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    networks.add(FlatConfig)
    try:
        assert run(["train", "digits", "--smoke", "--out", "runs/flat", "--set", "network=flat"]) == 0
    finally:
        del networks.known["flat"]
    capsys.readouterr()
    assert run(["sample", "runs/flat"]) == 2
    said = capsys.readouterr().err
    assert "runs/flat/model.safetensors holds a model that this unstir does not know" in said
    assert "no network is called 'flat'" in said
