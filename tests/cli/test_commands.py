"""Help, lists, versions, figures and the demo."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unstir import __version__
from unstir.cli.app import app
from unstir.cli.main import run
from unstir.data.sources import DATASETS
from unstir.recipes import RECIPES

Command = Callable[..., "subprocess.CompletedProcess[str]"]
COMMANDS = (
    *("demo", "train", "sample", "evaluate", "edit", "show", "report", "export"),
    *("recipes", "datasets", "samplers"),
)
EDITS = ("edit clean", "edit inpaint", "edit vary", "edit deblur")
BELOW = (*EDITS, "show schedules", "show forward", "show reverse", "show levels")


@pytest.mark.parametrize("name", ["", *COMMANDS, *BELOW])
def test_help_has_an_example_that_parses(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from typer.main import get_command

    assert run([*name.split(), "--help"]) == 0
    said = capsys.readouterr().out
    example = re.search(r"Example: unstir (.*?)\s*$", said, re.MULTILINE)
    assert example, said
    words = shlex.split(example[1])
    command, parsed = get_command(app), []
    while hasattr(command, "resolve_command"):
        with command.make_context("unstir", list(words)) as context:
            found, command, words = command.resolve_command(context, words)
            parsed.append(found)
    assert " ".join(parsed).startswith(name)
    command.make_context(parsed[-1], words).close()


def test_help_lists_all_commands_and_is_shown_without_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    said = capsys.readouterr().out
    assert all(f" {name} " in said for name in COMMANDS)


def test_the_commands_as_modules_and_versions(tmp_path: Path, command: Command) -> None:
    assert command("--version", folder=tmp_path).stdout == f"unstir {__version__}\n"


def test_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)
    for line, recipe in zip(lines, RECIPES.values()):
        assert line.endswith((recipe.__doc__ or "").splitlines()[0])
    words = {name: " ".join(line.split()) for name, line in zip(RECIPES, lines)}
    for name, budget in {
        "digits": "100 s",
        "digits-variations": "20 s + 100 s",
        "cifar10": "102,400,000 images",
        "images": "1 h",
    }.items():
        assert words[name].startswith(f"{name} {budget} ")
    assert run(["recipes", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["recipes"]
    assert list(said) == list(RECIPES)
    assert said["mnist"]["budgets"] == [{"images": None, "seconds": 300}]
    assert said["cifar10"]["budgets"] == [{"images": 102_400_000, "seconds": None}]


def test_datasets(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["datasets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(DATASETS)
    assert all(known.licence in line for line, known in zip(lines, DATASETS.values()))
    assert run(["datasets", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["datasets"]["mnist"]["hub"] == "ylecun/mnist"


def test_samplers(capsys: pytest.CaptureFixture[str]) -> None:
    from unstir.sampling.config import samplers

    assert run(["samplers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(samplers.known)
    assert run(["samplers", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["samplers"]["ddim"]["options"] == ["eta"]
    assert run(["samplers", "--json"]) == 0
    heun = json.loads(capsys.readouterr().out)["samplers"]["heun"]
    assert "two evaluations" in heun["about"]
    assert heun["options"] == ["churn", "churn-min", "churn-max", "churn-noise"]


@pytest.mark.usefixtures("ruled")
def test_evaluate(workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(workplace)
    line = ["evaluate", "runs/digits", "-n", "30", "--steps", "2", "--seed", "3"]
    assert run([*line, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["samples"] == 30
    assert figures["reference_images"] == 360
    assert figures["fcd"] > figures["fcd_floor"] > 0
    assert 0 <= figures["accuracy"] < 0.6
    assert figures["saved"] == "runs/digits/evaluations/ddim-2-n30-seed3.json"
    assert json.loads(Path(figures.pop("saved")).read_text()) == figures

    assert run([*line, "--metrics", "accuracy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "The figures are in runs/digits/evaluations/ddim-2-n30-seed3-2.json"
    rows = {row.split()[0]: row.split()[1] for row in lines[1:-1]}
    assert rows["accuracy"] == f"{figures['accuracy']:.4g}"
    assert "fcd" not in rows

    # Figures that took long are told even where they cannot be saved.
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert run([*line, "--metrics", "accuracy"]) == 2
    answer = capsys.readouterr()
    assert f"accuracy             {rows['accuracy']}" in answer.out
    assert answer.err.endswith("could not be written: No space left on device.\n")
    assert run([*line, "--metrics", "accuracy", "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert (said["accuracy"], said["saved"]) == (figures["accuracy"], None)


def test_evaluate_bits(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    line = ["evaluate", "runs/unlabelled", "--metrics", "bpd", "-n", "20", "--terms", "9"]
    assert run([*line, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    parts = sum(figures[f"bpd_{part}"] for part in ("prior", "transitions", "decoder"))
    assert figures["bpd"] == pytest.approx(parts, rel=1e-5)
    assert 0 < figures["bpd_standard_error"] < figures["bpd"]
    assert (figures["bpd_images"], figures["bpd_levels"], figures["bpd_terms"]) == (20, 1000, 9)
    assert figures["bpd_variance"] == "small"
    assert "fcd" not in figures and "bpd_ode" not in figures
    assert figures["saved"] == "runs/unlabelled/evaluations/bpd-n20-seed0.json"
    # The same images and noise, whatever the batch; another variance of the same chain, another bound.
    assert run([*line, "--batch", "7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bpd"] == pytest.approx(figures["bpd"], rel=1e-3)
    assert run([*line, "--variance", "large", "--json"]) == 0  # though the run draws by ddim
    large = json.loads(capsys.readouterr().out)
    assert large["bpd_variance"] == "large" and large["bpd"] != pytest.approx(figures["bpd"], rel=1e-3)
    assert run([*line, "--churn-max", "2"]) == 2
    assert "--churn-max is for drawing images, and bpd draws none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("sample runs/digits --steps 2 -n 4", "samples/sample-seed0.png"),
        ("sample runs/digits --steps 2 -n 4 --out x.npz", "../../x.npz"),
        ("sample runs/digits --steps 2 -n 4 --out x/", "../../x/1-1.png"),
        ("edit clean runs/digits photos/0.png --sigma 25", "edits/0-cleaned.png"),
        ("edit inpaint runs/digits digit.png --mask mask.png --label 1 --steps 2", "edits/digit-inpainted.png"),
        ("edit vary runs/digits digit.png --label 1 --steps 2", "edits/digit-varied.png"),
        ("edit deblur runs/digits digit.png --sigma 1 --label 1 --steps 2", "edits/digit-sharp.png"),
        ("evaluate runs/digits --steps 2 -n 4", "evaluations/ddim-2-n4-seed0.json"),
        ("show reverse runs/digits -n 1", "figures/reverse.png"),
        ("show reverse runs/digits -n 1 --out x.gif", "../../x.gif"),
        ("show levels runs/digits -n 4", "figures/levels.png"),
    ],
)
def test_what_another_command_has_written_meanwhile_stays(
    line: str,
    place: str,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from unstir.models import file, model

    monkeypatch.chdir(workplace)
    other, load = workplace / "runs/digits" / place, file.load

    def load_slowly(path: Path) -> model.Model:
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text("another's")
        return load(path)

    monkeypatch.setattr(file, "load", load_slowly)
    assert run(line.split()) == 0
    assert other.read_text() == "another's"
    assert Path(capsys.readouterr().out.split(" in ")[-1].strip()).exists()


def test_evaluate_bits_needs_no_labels(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    np.savez("plain.npz", images=np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8))
    line = ["evaluate", "runs/digits", "--data", "plain.npz", "-n", "4", "--steps", "5", "--json"]
    assert run([*line, "--metrics", "bpd,bpd_ode"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["bpd"] > 0 and math.isfinite(figures["bpd_ode"])
    assert (figures["bpd_levels"], figures["bpd_ode_levels"], figures["bpd_terms"]) == (5, 5, 4)
    assert run([*line, "--metrics", "bpd,fcd"]) == 2


@pytest.mark.slow
def test_evaluate_without_labels_by_a_backbone_of_a_package(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    levels = (np.arange(1000) % 250).astype(np.uint8)
    np.savez("unlabelled.npz", images=np.tile(levels[:, None, None, None], (1, 1, 8, 8)))
    line = ["evaluate", "runs/digits", "--data", "unlabelled.npz", "-n", "7", "--steps", "2"]
    assert run([*line, "--metrics", "fd,kd,precision,recall,density,coverage", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["backbone"], figures["samples"]) == ("efficientnet-lite0", 7)
    assert figures["fd"] > figures["fd_floor"] > 0 and figures["fd_low"] <= figures["fd"] <= figures["fd_high"]
    assert "7 samples are no more than the 1,280 features" in figures["fd_warning"]
    assert figures["precision"] == figures["density"] == 0  # noise is no gray sheet
    assert "classifier_accuracy" not in figures
    assert run([*line, "--metrics", "fd"]) == 0
    rows = {row.split()[0]: row for row in capsys.readouterr().out.splitlines()[1:-1]}
    assert rows["fd_floor"].endswith("fd of as many real training images: as low as one may hope")
    assert rows["fd_high"].endswith("the upper end") and "covariance" in rows["fd_warning"]
    assert run([*line, "--metrics", "fd,accuracy"]) == 2
    assert "no labels" in capsys.readouterr().err


def test_evaluate_refuses_images_that_do_not_fit(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    for name in ("a", "b"):
        (workplace / "classes" / name).mkdir(parents=True)
    for i, picture in enumerate(sorted((workplace / "photos").iterdir())):
        picture.rename(workplace / "classes" / "ab"[i % 2] / picture.name)
    assert run(["evaluate", "runs/digits", "--data", "classes"]) == 2
    assert "draws images of 1x8x8, and those of 'classes' are 3x20x24" in capsys.readouterr().err
    assert not Path("runs/digits/evaluations").exists()


def test_demo(workplace: Path, command: Command) -> None:
    from unstir.training.checkpoint import newest_checkpoint
    from unstir.training.run_folder import RunFolder

    answer = command("demo", "--for", "20s", folder=workplace)
    assert answer.returncode == 0, answer.stderr
    found = newest_checkpoint(RunFolder(workplace / "runs/demo"))
    assert found is not None
    # Start-up, about three seconds on a quiet machine, is a part of the twenty.
    assert found[1].elapsed == pytest.approx(20, abs=8)
    lines = answer.stdout.splitlines()
    assert lines[-1] == "Ten drawings of each digit are in runs/demo/demo.png"
    shares = [int(share) for share in re.findall(r"(\d+)%", lines[-2])]
    assert shares[0] >= 10  # no better than chance is possible after so short a training
    assert shares[1] >= 97
    width, height = Image.open(workplace / "runs/demo/demo.png").size
    assert width > height == 664  # with the digits' names beside their rows


def test_the_demo_reader_reads_real_digits_and_no_noise() -> None:
    import torch

    from unstir.cli.demo import read_rightly
    from unstir.data.config import DataConfig
    from unstir.data.load import load
    from unstir.models.samples import Samples

    splits = load(DataConfig(source="digits"))
    assert splits.held_out.labels is not None
    pixels, told = splits.held_out.examples(list(range(len(splits.held_out))))
    labels = told["label"]
    read, real = read_rightly(Samples(pixels, labels), splits.train, splits.held_out)
    assert read == pytest.approx(real)
    assert real > 0.97
    noise = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    read, _ = read_rightly(Samples(noise, labels), splits.train, splits.held_out)
    assert read < 0.25


@pytest.mark.parametrize(
    ("line", "code"),
    [
        *((f"{name} --help".strip(), 0) for name in ("", *COMMANDS, *BELOW)),
        ("recipes", 0),
        ("datasets --json", 0),
        ("samplers", 0),
        ("sample missing", 2),
        ("sample runs/digits --steps 0", 2),
        ("evaluate runs/plan/encoder", 2),
        ("report runs/digits --out page.pdf", 2),
        ("train digits --set training.batch=0", 2),
        ("train digits-variations --set training.batch=3", 2),
        ("export runs/plan --out runs/plan", 2),
    ],
)
def test_help_lists_and_refusals_import_no_torch(line: str, code: int, workplace: Path, forked: Command) -> None:
    answer = forked(*line.split(), folder=workplace)  # where to import torch is an error
    assert answer.returncode == code, answer.stderr
    assert "torch" not in answer.stderr


@pytest.mark.parametrize(
    "line", ["--help", "sample --help", pytest.param("evaluate --help", marks=pytest.mark.slow)]
)
def test_help_is_there_at_once(line: str, workplace: Path) -> None:
    """Of the processor's time 0.3 s on a quiet machine, and twice that on a busy one.

    A slower machine is known by how long the libraries of any such command take: torch takes many times as long.
    """

    def least(*words: str) -> float:
        took = []
        for _ in range(3):
            before = os.times()
            subprocess.run([sys.executable, *words], cwd=workplace, capture_output=True, check=True)
            after = os.times()
            took.append(
                after.children_user + after.children_system - before.children_user - before.children_system
            )
        return min(took)

    libraries = least("-c", "import pydantic.main, rich.markdown, typer.rich_utils, yaml")
    assert least("-m", "unstir", *line.split()) < max(0.6, 3 * libraries)
