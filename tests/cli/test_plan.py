"""A plan by the command: its stages in turn, going on in the right one, moved, and used as its last stage."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from unstir.cli.main import run

Listing = Callable[[Path], dict[str, tuple[int, int]]]
SMOKE = ["train", "digits-variations", "--smoke", "--out", "runs/plan"]


@pytest.fixture
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workplace)
    return workplace


def content(path: Path) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return what a model file says and its weights; the order in which they are written is any."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return file.metadata(), {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118


def test_the_stages_are_trained_in_turn(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "digits-variations", "--smoke"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [
        "Stage 1 of 2: encoder",
        "Training digits-variations for 32 images, in runs/digits-variations-smoke/encoder",
    ]
    assert said[3:5] == [
        "Stage 2 of 2: drawing",
        "Training digits-variations for 32 images, in runs/digits-variations-smoke/drawing",
    ]
    assert "told seen; " in said[5] and said[5].startswith("1,437 images of 1x8x8")
    out = Path("runs/digits-variations-smoke")
    picture = out / "drawing/samples/images-0000000032.png"
    assert said[6:] == [
        f"Next: unstir sample {out}, unstir evaluate {out}, unstir doctor {out}",
        f"The plan is in {out}; its newest picture is {picture}",
    ]
    assert picture.stat().st_size > 100
    assert list(yaml.safe_load((out / "plan.yaml").read_text())) == ["encoder", "drawing"]
    stored = yaml.safe_load((out / "drawing/config.yaml").read_text())
    assert stored["model"]["parts"]["encoder"]["path"] == "../encoder"


def test_the_same_command_again_is_finished(
    here: Path, capsys: pytest.CaptureFixture[str], listing: Listing
) -> None:
    before = listing(Path("runs/plan/encoder")) | listing(Path("runs/plan/drawing"))
    assert run(SMOKE) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert (first, second) == ("Stage 1 of 2: encoder", "Stage 2 of 2: drawing")
    assert re.fullmatch(
        r"This plan is finished \(32 images, [\d.]+ s in its last stage\): it is in runs/plan; its newest picture "
        r"is runs/plan/drawing/samples/images-0000000032.png",
        last,
    )
    assert run([*SMOKE, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said.pop("seconds") > 0
    assert said == {
        "run": "runs/plan",
        "stage": "drawing",
        "picture": "runs/plan/drawing/samples/images-0000000032.png",
        "film": None,
        "losses": None,
        "finished": True,
        "trained": False,
        "steps": 4,
        "images": 32,
    }
    assert listing(Path("runs/plan/encoder")) | listing(Path("runs/plan/drawing")) == before


def test_a_new_budget_is_the_last_stages_alone(
    here: Path, capsys: pytest.CaptureFixture[str], listing: Listing
) -> None:
    """An encoder that learned on would be another than the one that the images were drawn from."""
    before = listing(Path("runs/plan/encoder"))
    more = [word for stage in ("encoder", "drawing") for word in ("--set", f"{stage}.training.images=48")]
    assert run([*SMOKE, *more, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["images"], said["trained"], said["finished"]) == (48, True, True)
    assert listing(Path("runs/plan/encoder")) == before
    assert run(["sample", "runs/plan", "-n", "2", "--steps", "2"]) == 0


@pytest.mark.slow
def test_a_dry_run_prices_both_stages_and_writes_nothing_but_pictures(
    here: Path, capsys: pytest.CaptureFixture[str], listing: Listing
) -> None:
    from safetensors import safe_open

    before = listing(here)
    line = ["train", "digits-variations", "--smoke", "--dry-run", "--out"]
    assert run([*line, "runs/new"]) == 0
    said = capsys.readouterr().out
    assert [*yaml.safe_load(said)] == ["encoder", "drawing"]
    assert yaml.safe_load(said)["drawing"]["model"]["parts"] == {"encoder": {"path": "../encoder", "hash": ""}}
    assert said.count("\n# parameters: ") == said.count("\n# speed: ") == said.count("\n# end: after ") == 2
    assert run([*line, "runs/new", "--json"]) == 0
    fresh = json.loads(capsys.readouterr().out)
    assert run([*line, "runs/plan", "--json"]) == 0
    there = json.loads(capsys.readouterr().out)
    pictures = [f"{plan}-{stage}-dry-run" for plan in ("new", "plan") for stage in fresh["stages"]]
    written = [f"runs/{name}.png" for name in [*pictures, *(f"{name}-2" for name in pictures[:2])]]
    after = listing(here)
    assert sorted(after.keys() - before.keys()) == sorted(written)
    assert [stage["picture"] for stage in fresh["stages"].values()] == [f"runs/{p}-2.png" for p in pictures[:2]]
    assert {name: after[name] for name in before} == before
    for stage, priced in fresh["stages"].items():
        with safe_open(f"runs/plan/{stage}/model.safetensors", framework="numpy") as file:
            state = [name for name in file.keys() if "running_" not in name and "num_batches" not in name]  # noqa: SIM118
            assert priced["parameters"] == sum(file.get_tensor(name).size for name in state)
        assert (priced["images"], priced["steps"]) == (32, 4)
        assert there["stages"][stage]["parameters"] == priced["parameters"]
    assert fresh["seconds"] == pytest.approx(sum(one["seconds"] for one in fresh["stages"].values()), abs=0.11)


@pytest.mark.slow
def test_a_budget_is_shared_by_the_stages(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "digits-variations", "--dry-run", "--images", "1000", "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [one["config"]["training"]["images"] for one in stages.values()] == [200, 800]


def test_the_last_stage_is_the_plan(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import unstir

    for number, model in enumerate(("runs/plan", "runs/plan/drawing", "runs/plan/drawing/model.safetensors")):
        assert run(["sample", model, "-n", "5", "--steps", "3", "--seed", "4", "--out", f"{number}.npz"]) == 0
    arrays = [np.load(f"{number}.npz")["arr_0"] for number in range(3)]
    np.testing.assert_array_equal(arrays[0], arrays[1])
    np.testing.assert_array_equal(arrays[0], arrays[2])
    drawn = unstir.load("runs/plan").sample(5, steps=3, seed=4).bytes()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(drawn.permute(0, 2, 3, 1).numpy(), arrays[0])
    capsys.readouterr()
    assert run(["sample", "runs/plan", "-n", "1", "--steps", "1"]) == 0
    assert capsys.readouterr().out == "1 image is in runs/plan/samples/sample-seed0.png\n"
    assert run(SMOKE) == 0  # what was drawn into the plan's folder is not in its way


def test_a_plan_moves_as_a_whole(here: Path, tmp_path: Path) -> None:
    line = ["-n", "3", "--steps", "2", "--out"]
    assert run(["sample", "runs/plan", *line, "before.npz"]) == 0
    (tmp_path / "other/place").mkdir(parents=True)
    Path("runs/plan").rename(tmp_path / "other/place/moved")
    assert run(["sample", str(tmp_path / "other/place/moved"), *line, "after.npz"]) == 0
    np.testing.assert_array_equal(np.load("before.npz")["arr_0"], np.load("after.npz")["arr_0"])
    moved = [*SMOKE[:-1], str(tmp_path / "other/place/moved"), "--set", "drawing.training.images=40"]
    assert run(moved) == 0  # and it is trained on there


def test_a_trained_part_of_ones_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Part of a single run, which is named in full unless it lies beside the run."""
    seen = ["--set", "told.seen={kind: embedding, of: encoder, dropout: 0.1}"]
    line = ["train", "digits", "--smoke", *seen, "--part", "encoder=runs/plan/encoder", "--out", "runs/part"]
    assert run(line) == 0
    assert "told label (10 classes), seen; " in capsys.readouterr().out
    assert run(line) == 0
    assert "This run is finished" in capsys.readouterr().out
    assert run(["sample", "runs/part", "-n", "2", "--steps", "2", "--label", "3"]) == 0
    from unstir.models.file import read_config

    part = read_config(Path("runs/part"))[1].parts["encoder"]
    assert part.hash and part.path == "../plan/encoder"


SETTINGS = {
    "encoder.training.images": 64,
    "encoder.training.batch": 32,
    "drawing.network.channels": "[8,8]",
    "drawing.training.batch": 16,
    "drawing.training.log_every": 5,
    "drawing.training.images": 16 * 160,
}
LONG = ["train", "digits-variations", *(w for k, v in SETTINGS.items() for w in ("--set", f"{k}={v}")), "--json"]


@pytest.mark.slow
def test_killed_in_the_second_stage_it_goes_on_there(here: Path, listing: Listing) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "unstir", *LONG]
    job = subprocess.Popen([*command, "--out", "runs/killed"], env=environment, stdout=subprocess.DEVNULL)
    checkpoints, until = Path("runs/killed/drawing/checkpoints"), time.monotonic() + 200
    while not list(checkpoints.glob("step-*.safetensors")) and time.monotonic() < until and job.poll() is None:
        time.sleep(0.002)
    job.kill()
    assert job.wait(60) == -signal.SIGKILL
    before = listing(Path("runs/killed/encoder"))
    again = subprocess.run(
        [*command, "--out", "runs/killed"], env=environment, capture_output=True, text=True, check=True
    )
    assert "Stage 2 of 2: drawing" in again.stderr
    assert "in runs/killed/encoder" not in again.stderr
    step = re.search(r"Going on from step (\d+)", again.stderr)
    assert step is not None and 0 < int(step[1]) < 160
    said = json.loads(again.stdout)
    assert (said["finished"], said["trained"], said["stage"], said["steps"]) == (True, True, "drawing", 160)
    assert listing(Path("runs/killed/encoder")) == before

    subprocess.run([*command, "--out", "runs/whole"], env=environment, capture_output=True, check=True)
    for stage in ("encoder", "drawing"):
        killed, whole = (
            content(Path("runs") / each / stage / "model.safetensors") for each in ("killed", "whole")
        )
        assert killed == whole, stage
    picture = "drawing/samples/images-0000002560.png"
    assert (Path("runs/killed") / picture).read_bytes() == (Path("runs/whole") / picture).read_bytes()


@pytest.mark.slow
def test_stopped_in_the_first_stage_it_says_so(here: Path) -> None:
    command = [sys.executable, "-m", "unstir", *LONG[:-1], "--out", "runs/stopped"]
    command += ["--set", "encoder.training.images=10000000", "--set", "encoder.training.log_every=1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    job = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics, until = Path("runs/stopped/encoder/metrics.jsonl"), time.monotonic() + 200
    while not (metrics.exists() and metrics.read_text()) and time.monotonic() < until and job.poll() is None:
        time.sleep(0.05)
    job.send_signal(signal.SIGINT)
    out, err = job.communicate(timeout=120)
    assert job.returncode == 130, err
    assert "Traceback" not in err
    last = out.splitlines()[-1]
    assert last.startswith("Stopped in the stage encoder after ")
    assert last.endswith("; the same command goes on. The run is in runs/stopped")
    assert not Path("runs/stopped/drawing").exists()
    assert run(["sample", "runs/stopped"]) == 2
