"""Training by command: every recipe in small, going on, finished runs, interruption, dry runs."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import permutations
from pathlib import Path

import pytest
import torch
import yaml

from unstir.cli.main import run
from unstir.cli.train import configure
from unstir.data.augmentation import WIDTH
from unstir.data.sources import DATASETS
from unstir.errors import InputError
from unstir.models.file import load
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import NetworkConfig, PlainUNetConfig, networks
from unstir.recipes import RECIPES
from unstir.recipes.request import Request
from unstir.training.config import Config
from unstir.training.estimate import Estimate
from unstir.training.learner import Learner

OF_IMAGENET = tuple(name for name in RECIPES if name.startswith("imagenet"))
"""Large images and larger networks: minutes on a CPU."""

CAPTIONED = ("emoji-text", "emoji-latent-text")
"""Which want captioned pictures: tests/cli/test_text.py."""

LIKE_OTHERS = (
    "mnist-label-input",
    "mnist-fc-notime",
    "fashion-mnist",
    "cifar10-classifier",
    "cifar10",
    "cifar10-ncsn",
    "church64",
    "shapes-text",
    "cars64",
    "stl10-96",
    "faces128",
    "cifar10-codec",
    "images-codec",
    "church256-codec",
    "faces256-codec",
    "images-latent",
    "cifar10-diffae",
    "emoji-diffae",
    "faces128-diffae",
)
"""What they are made of, other recipes train too."""


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in (*OF_IMAGENET, *LIKE_OTHERS)))
        for name in RECIPES
        if name not in CAPTIONED
    ],
)
def test_every_recipe_trains_in_small(
    recipe: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    data = ["--data", "photos"] if recipe.startswith(("images", "emoji")) else []
    assert run(["train", recipe, "--smoke", *data, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["run"] == f"runs/{recipe}-smoke"
    assert said["finished"]
    assert said["images"] == 32
    if recipe.endswith("classifier"):  # which has nothing to show
        assert said["picture"] is None
    else:
        assert Path(said["picture"]).stat().st_size > 100
    folder = workplace / said["run"] / said.get("stage", "")  # of a plan, its last stage
    stored = yaml.safe_load((folder / "config.yaml").read_text())
    assert stored["recipe"] == recipe
    assert said["steps"] == len((folder / "metrics.jsonl").read_text().splitlines()) * 2


def test_a_finished_run_says_so_and_a_larger_budget_goes_on(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    same = ["train", "digits", "--smoke", "--out", "runs/digits"]
    before = {path: path.stat().st_mtime_ns for path in Path("runs/digits").rglob("*")}
    assert run(same) == 0
    said = capsys.readouterr().out
    assert said.startswith("This run is finished (32 images, ")
    assert said.count("\n") == 1
    assert "runs/digits/samples/images-0000000032.png" in said
    assert {path: path.stat().st_mtime_ns for path in Path("runs/digits").rglob("*")} == before

    assert run([*same, "--set", "training.images=48"]) == 0
    said = capsys.readouterr().out
    assert "Going on from step 4 (32 images" in said
    assert said.splitlines()[-2:] == [
        "Next: unstir sample runs/digits, unstir evaluate runs/digits, unstir doctor runs/digits",
        "The run is in runs/digits; its newest picture is runs/digits/samples/images-0000000048.png",
    ]
    assert run([*same, "--set", "training.images=48"]) == 0
    assert "This run is finished (48 images" in capsys.readouterr().out


def test_smoke_is_done_again(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    for _ in range(2):
        assert run(["train", "digits", "--smoke", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["trained"]


def test_what_is_altered_is_told_and_drawing_tells_nothing(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    out = ["--smoke", "--set", "data.augment=0.3", "--out", "runs/altered"]
    assert run(["train", "digits", *out]) == 0
    assert "told augmentation, label (10 classes)" in capsys.readouterr().out
    model = load(Path("runs/altered"))
    own = model.sample(3, steps=3).tensor
    told = torch.zeros(1, WIDTH)
    assert not torch.equal(own, model.sample(3, steps=3, told={"augmentation": told}).tensor)
    assert torch.equal(own, model.sample(3, steps=3, told={"augmentation": told * math.nan}).tensor)
    for recipe, why in (("mnist-gan", "this is a GAN"), ("mnist-inpaint", "degraded pictures as they are")):
        assert run(["train", recipe, "--data", "digits", *out[:-1], "runs/other"]) == 2
        assert why in capsys.readouterr().err


def test_a_run_goes_on_though_what_it_began_with_is_gone(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    line = ["train", "digits", "--smoke", "--from", "runs/digits", "--out", "runs/tuned"]
    assert run(line) == 0
    assert " weights are those of runs/digits\n" in capsys.readouterr().out
    shutil.rmtree("runs/digits")
    assert run([*line, "--set", "training.images=40"]) == 0
    assert "Going on from step 4" in capsys.readouterr().out
    assert run([*line[:-1], "runs/other"]) == 2
    assert "no run folder or model file at runs/digits" in capsys.readouterr().err


def test_what_is_found_in_it_is_not_thrown_away(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    for run_, plan in (("digits", "digits"), ("plan", "digits-variations")):
        Path(f"runs/{run_}").rename(f"runs/{plan}-smoke")
        notes = Path(f"runs/{plan}-smoke/{'drawing/' if run_ == 'plan' else ''}notes.txt")
        notes.write_text("mine")
        before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")}
        assert run(["train", plan, "--smoke"]) == 2
        assert f"{notes} would be lost" in capsys.readouterr().err
        assert {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")} == before


@pytest.mark.parametrize("kind", networks)
def test_a_tiny_version_is_of_the_kind_that_is_asked_for(kind: str) -> None:
    def network(*settings: str) -> NetworkConfig:
        config = configure("digits", Request(), Path("x"), settings, smoke=True)
        assert isinstance(config, Config) and isinstance(config.model, DenoiserConfig)
        assert config.training.batch == 8
        return config.model.network

    for setting in (f"network.kind={kind}", f"network={kind}"):
        assert network("sampling.steps=3", setting) == network(setting) == networks[kind]().tiny()
    # What is set by hand holds, in any order.
    for settings in permutations(["network.kind=plain", "network.channels=[24,40]", "training.images=48"]):
        assert network(*settings) == PlainUNetConfig(channels=(24, 40))


@pytest.mark.slow
def test_a_run_that_took_no_step_is_begun_anew(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)

    def starved(self: Learner, rate: float) -> None:
        raise MemoryError

    line = ["train", "digits", "--smoke", "--out", "runs/new"]
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", starved)
        assert run([*line, "--set", "training.batch=16"]) == 2
    assert "try a smaller batch (--set training.batch=32" in capsys.readouterr().err
    assert run([*line, "--set", "training.batch=4", "--set", "seed=3"]) == 0
    assert run([*line, "--set", "training.batch=8", "--set", "seed=3"]) == 2
    assert "training.batch is 4, not 8" in capsys.readouterr().err


def test_a_budget_of_days_is_told(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from unstir.training import estimate as estimating
    from unstir.training import loop

    measured = []

    def known(config: Config, *rest: object, **how: object) -> Estimate:
        measured.append(config.training.images)
        return Estimate(0, 0, 100_000.0, 4)

    def stopped(*rest: object) -> None:
        raise InputError("Enough")

    monkeypatch.chdir(workplace)
    monkeypatch.setattr(estimating, "estimate", known)
    monkeypatch.setattr(loop, "train", stopped)
    day = 100_000 * 24 * 3600
    for budget, line in {
        day - 1: "",
        day: "This takes about 24 h on this machine",
        3 * day: "about 3 d on",
    }.items():
        assert run(["train", "digits", "--smoke", "--set", f"training.images={budget}"]) == 2
        said = capsys.readouterr().out
        assert ("This takes" in said) == bool(line), budget
        assert line in said
    assert measured == [day - 1, day, 3 * day]
    assert run(["train", "digits", "--smoke", "--set", f"training.images={day // 10}"]) == 2
    assert len(measured) == 3, "where it cannot be a day, nothing is measured"


def test_it_says_first_what_it_does(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    assert run(["train", "images", "--data", "photos", "--smoke", "--out", "runs/photos"]) == 0
    first, note, folder, lacks, second, further, last = capsys.readouterr().out.splitlines()
    assert lacks == "The data has no label: the model is told none"
    assert first == "Training images for 32 images, in runs/photos"
    assert note.startswith("12 images of about 20 pixels")
    assert folder == "Of photos: enlarging 12 of 12 images to 32x32 pixels adds no detail"
    assert second.startswith("11 images of 3x32x32, told augmentation; ")
    assert further.startswith("Next: unstir sample runs/photos")
    assert " parameters; on " in second
    assert last.startswith("The run is in runs/photos")


@pytest.mark.slow
def test_a_stopped_run_says_how_to_go_on(workplace: Path) -> None:
    line = [sys.executable, "-m", "unstir", "train", "digits", "--smoke", "--out", "runs/long", "--json"]
    line += ["--set", "training.images=10000000", "--set", "training.log_every=1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    job = subprocess.Popen(
        line, cwd=workplace, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    metrics, until = workplace / "runs/long/metrics.jsonl", time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text()) and time.monotonic() < until and job.poll() is None:
        time.sleep(0.05)
    job.send_signal(signal.SIGINT)
    out, err = job.communicate(timeout=120)
    assert job.returncode == 130, err
    assert "Traceback" not in err
    said = json.loads(out)
    assert not said["finished"]
    assert said["steps"] >= 1
    assert (workplace / "runs/long/model.safetensors").exists()
    again = subprocess.run(
        [*line, "--set", f"training.images={said['images'] + 8}"],
        cwd=workplace,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"Going on from step {said['steps']}" in again.stderr
    assert json.loads(again.stdout)["steps"] == said["steps"] + 1


SMALL = ("digits", "digits-variations", "mnist-fc", "mnist-fc-notime", "mnist", "images")
LARGE = tuple(name for name in RECIPES if name not in (*SMALL, *CAPTIONED))


@pytest.mark.parametrize("recipe", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_every_recipe_dry_runs_without_fetching(
    recipe: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import unstir.data.tables
    import unstir.training.estimate as module

    if recipe in OF_IMAGENET and not torch.cuda.is_available():
        pytest.skip("a step of 300 to 550 million parameters takes minutes without a GPU")
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(module, "estimate", partial(module.estimate, patience=0.4))
    monkeypatch.setattr(unstir.data.tables, "_fetch", lambda source: pytest.fail("it fetched"))
    data = ["--data", "photos"] if recipe.startswith(("images", "emoji")) else []
    assert run(["train", recipe, "--dry-run", "--for", "1h", *data, "--out", "runs/dry"]) == 0
    said = capsys.readouterr().out
    assert not Path("runs/dry").exists()
    planned = yaml.safe_load(said)
    stages = [planned] if "recipe" in planned else [*planned.values()]
    assert {stage["recipe"] for stage in stages} == {recipe}
    for fact in ("parameters: ", "memory: about ", "speed: ", "end: after "):
        assert said.count(f"\n# {fact}") == len(stages)
    assert sum(stage["training"]["seconds"] or 0 for stage in stages) == pytest.approx(3600)
    assert ("\n# all stages: 1 h" if len(stages) > 1 else "\n# end: after 1 h, about ") in said


def test_a_dry_run_counts_as_training_does(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors import safe_open

    monkeypatch.chdir(workplace)
    assert run(["train", "digits", "--smoke", "--dry-run", "--out", "runs/digits", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    with safe_open("runs/digits/model.safetensors", framework="numpy") as file:
        whole = sum(file.get_tensor(name).size for name in file.keys())  # noqa: SIM118
    assert said["parameters"] == whole
    assert said["state_bytes"] == 20 * whole
    assert said["shape"] == [1, 8, 8]
    assert said["images"] == 32
    assert said["steps"] == 4
    assert said["seconds"] == pytest.approx(32 / said["images_per_second"], abs=0.1)


def test_what_a_dry_run_takes_named_sets_for() -> None:
    from unstir.cli.dry_run import expected_images
    from unstir.data.config import DataConfig

    assert expected_images(DataConfig(source="mnist")) == ((1, 28, 28), 10)
    assert expected_images(DataConfig(source="mnist", size=(32, 40), channels=3)) == ((3, 32, 40), 10)
    assert expected_images(DataConfig(source="church", size=(64, 64))) == ((3, 64, 64), 0)
    assert expected_images(DataConfig(source="imagenet", size=(128, 128))) == ((3, 128, 128), 1000)
    assert expected_images(DataConfig(source="church")) is None
    assert expected_images(DataConfig(source="photos", size=(64, 64))) is None
    assert all(known.size or known.hub for known in DATASETS.values())
