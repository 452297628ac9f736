"""Guidance by other models from the command line: classifiers, weaker models and checkpoints."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import unstir
from unstir.cli.main import run
from unstir.diffusion.config import ScheduleConfig
from unstir.models.file import save

QUICK = ["-n", "6", "--steps", "3"]


@pytest.fixture(scope="module")
def classifiers(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny classifiers of noised digits, on the schedule of the runs and on another."""
    folder = tmp_path_factory.mktemp("classifiers")
    line = ["train", "mnist-classifier", "--data", "digits", "--smoke", "--out", str(folder / "cosine")]
    assert run(line) == 0
    model = unstir.load(folder / "cosine")
    other = model.config.model_copy(update={"schedule": ScheduleConfig(name="linear")})
    save(folder / "linear.safetensors", model, other)
    return folder


@pytest.fixture
def here(workplace: Path, classifiers: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(classifiers, workplace / "classifiers")
    monkeypatch.chdir(workplace)
    return workplace


def drawn(model: str, *arguments: str) -> np.ndarray:
    assert run(["sample", model, *QUICK, *arguments, "--out", "x.npz"]) == 0
    with np.load("x.npz") as file:
        array = file["arr_0"]
    Path("x.npz").unlink()
    return array.astype(int)


@pytest.mark.parametrize("model", ["runs/digits", "runs/unlabelled"])
def test_a_classifier_guides_as_much_as_it_is_told(
    model: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = ["--classifier", "classifiers/cosine"]
    label = ["--label", "3"] if model == "runs/digits" else []
    plain = drawn(model, *label)
    assert np.abs(drawn(model, *how, "--label", "3", "--scale", "0") - plain).max() <= 1
    assert np.abs(drawn(model, *how, "--label", "3", "--scale", "900") - plain).max() > 1
    capsys.readouterr()
    assert run(["sample", model, *QUICK, *how, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["labels"] == [0, 1, 2, 3, 4, 5]
    assert (said["classifier"], said["scale"]) == ("classifiers/cosine", 1.0)
    assert run(["sample", model, *QUICK, *how, "--label", "4,7", "--out", "folder/"]) == 0
    assert sorted(path.name for path in Path("folder").iterdir())[:2] == ["0-4.png", "1-7.png"]


def test_a_checkpoint_is_a_model(here: Path) -> None:
    checkpoints = sorted((here / "runs/digits/checkpoints").glob("*.safetensors"))
    whole, latest = unstir.load("runs/digits").state_dict(), unstir.load(checkpoints[-1]).state_dict()
    assert all((latest[name] == value).all() for name, value in whole.items()) and latest.keys() == whole.keys()
    np.testing.assert_array_equal(drawn(str(checkpoints[-1])), drawn("runs/digits"))


def test_a_checkpoint_guides_as_the_weaker_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = str(next((here / "runs/unlabelled/checkpoints").glob("step-*.safetensors")))
    plain = drawn("runs/unlabelled")
    assert np.abs(drawn("runs/unlabelled", "--weaker", checkpoint, "--guidance", "2") - plain).max() <= 1
    assert run(["train", "digits", "--smoke", "--set", "told={}", "--seed", "5", "--out", "runs/other"]) == 0
    pushed = drawn("runs/unlabelled", "--weaker", "runs/other", "--guidance", "2")
    assert np.abs(pushed - plain).max() > 1
    capsys.readouterr()
    line = ["sample", "runs/unlabelled", *QUICK, "--weaker", "runs/other", "--guidance", "1", "--json"]
    assert run([*line, "--guidance-max", "3", "--guidance-rescale", "0.5"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["weaker"] == "runs/other" and "scale" not in said
    assert (said["sampling"]["guidance_max"], said["sampling"]["guidance_rescale"]) == (3.0, 0.5)


CASES = {
    "sample runs/digits --scale 2": "none is given",
    "sample runs/digits --classifier runs/plan/encoder": "has seen clean images alone",
    "sample runs/digits --classifier runs/digits": "cannot guide",
    "sample runs/digits --classifier missing": "no run folder or model file at missing",
    "sample runs/digits --classifier classifiers/linear.safetensors": "another schedule (linear) than the model",
    "sample runs/digits --classifier classifiers/cosine --label ten": "No label is called 'ten'",
    "sample runs/unlabelled --classifier classifiers/cosine --label 10": "Label 10 is out of range",
    "sample runs/digits --classifier classifiers/cosine --scale -1": "-1",
    "sample runs/digits --weaker runs/unlabelled": "told the same",
    "sample runs/unlabelled --weaker runs/unlabelled --guidance 0": "guidance above 0",
    "sample classifiers/cosine": "cannot draw images",
    "sample runs/digits --weaker stray/checkpoints/step.safetensors": "in its run folder alone",
    "sample runs/digits --guidance-min 3 --guidance-max 2": "guidance_min, 3, lies above guidance_max, 2",
    "sample runs/digits --guidance 0 --guidance-max 2": "which is off",
    "sample runs/digits --guidance-rescale 2": "guidance_rescale",
    "sample runs/digits --classifier others": "trained on other images than runs/digits",
    "evaluate runs/digits --metrics bpd --classifier classifiers/cosine": "--classifier is for drawing",
    "evaluate runs/digits --metrics attributes": "told the captions of 'shapes'",
}


@pytest.mark.parametrize("line", CASES)
def test_what_does_not_fit_is_told_in_a_sentence(
    line: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "stray/checkpoints").mkdir(parents=True)
    shutil.copy(next((here / "runs/digits/checkpoints").iterdir()), "stray/checkpoints/step.safetensors")
    shutil.copytree("classifiers/cosine", "others")
    kept = Path("others/config.yaml")
    kept.write_text(re.sub("fingerprint: .*", f"fingerprint: '{'0' * 32}'", kept.read_text()))
    before = sorted(here.rglob("*"))
    assert run(line.split()) == 2
    said = capsys.readouterr().err
    assert CASES[line] in " ".join(said.split()) and "Traceback" not in said
    assert sorted(here.rglob("*")) == before


@pytest.mark.slow
def test_evaluation_takes_a_classifier(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["evaluate", "runs/unlabelled", "-n", "20", "--steps", "2", "--metrics", "accuracy", "--json"]
    assert run([*line, "--classifier", "classifiers/cosine", "--scale", "2"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert 0 <= said["accuracy"] <= 1 and said["scale"] == 2.0
