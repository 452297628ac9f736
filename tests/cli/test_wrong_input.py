"""Each wrong input gets one sentence and exit code 2, at once, without torch, and nothing is written."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from unstir.tensors import write_tensors

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Listing = Callable[[Path], dict[str, tuple[int, int]]]

SECONDS = 8.0
"""Far more than it takes (0.4 s), for a machine that is busy; what counts is that torch is not imported."""

SEEN = "told.seen={kind: embedding, of: encoder}"
"""What makes the digits a recipe that needs a part."""

CASES = {
    # recipes, data and budgets
    "train": "Missing argument",
    "trian digits": "train",
    "train digitz": "'digits'",
    "train images": "--data",
    "train images --data missing": "'missing'",
    "train images --data ./missing": "'./missing'",
    "train images --data empty": "empty",
    "train images --data texts": "no image",
    "train images --data one": "'one' holds 1 image; at least 2 are needed",
    "train images --data one --dry-run": "'one' holds 1 image; at least 2 are needed",
    "train digits --data minst": "'mnist'",
    "train digits --data ''": "--data is empty",
    "train digits --data file": "is a file",
    "train digits --set data.source=missing": "'missing'",
    "train digits --for soon": "90s, 30m or 1h30m",
    "train digits --for 30": "90s, 30m or 1h30m",
    "train digits --for 0s": "0s",
    "train digits --for -5m": "-5m",
    "train digits --images many": "2M",
    "train digits --images 0": "'0'",
    "train digits --images -3": "'-3'",
    "train digits --for 1m --images 2M": "not both",
    "train digits --smoke --images 2M": "--smoke",
    "train digits --for ''": "90s, 30m or 1h30m, not ''",
    "train digits --smoke --for ''": "--smoke",
    "train digits --images ''": "2M, not ''",
    "train digits --images 1.5": "not '1.5'",
    "train digits --images 1,,2": "not '1,,2'",
    f"train digits --images {'9' * 400}": "2M, not '999",
    "train digits --for 4000d": "at most 3650 d",
    "demo --for ''": "not ''",
    "train digits --seed -1": "--seed",
    # settings
    "train digits --set trainning.batch=3": "'training.batch'",
    "train digits --set training.bach=3": "'training.batch'",
    "train digits --set training.batch": "key=value",
    "train digits --set training.batch=many": "training.batch",
    "train digits --set training.batch=-4": "training.batch",
    "train digits --set training.learning_rate=fast": "training.learning_rate",
    "train digits --set network=small": "no network is called 'small'",
    "train digits --set network.kind=resnet": "network",
    "train digits --set network.channels=[]]": "network.channels",
    "train digits --set sampling.sampler.eta=2": "sampling.sampler.eta",
    "train digits --set diffusion=small": "diffusion.objective",
    "train digits --set sampling.sampler=ddmi": "there are ddpm, ddim, ",
    "train digits --set sampling.eta=1": "'sampling.sampler.eta'",
    "train digits --set sampling.sampler.order=2": "sampling.sampler.",
    "train digits --set precision=fp64": "precision cannot be 'fp64'",
    "train digits --set diffusion.objective=hybrid": "variance=learned",
    "train digits --set sampling.sampler=ddpm --set sampling.sampler.variance=learned": "trained with "
    "diffusion.variance=learned",
    "train digits --set training.seconds=null": "in images or in seconds",
    "train digits --set told.label.dropout=0": "told.label.dropout above 0",
    "train digits --set diffusion.schedule.name=ladder --set diffusion.schedule.steps=1": "at least 2 steps",
    "train digits --set seed=2026-99-99": "The value of seed is not readable: 2026-99-99",
    f"train digits --set seed={'9' * 5000}": "The value of seed is not readable: 999",
    f"train digits --set seed={'[' * 3000}": "The value of seed is not readable: [[[",
    f"train digits --set seed={'[' * 100_000}": "The value of seed is not readable: [[[",
    "train digits --set 'told={a: &a [1], b: *a}'": "The value of told is not readable",
    "train digits --set 'seed=!!python/object/apply:os.getcwd []'": "The value of seed is not readable",
    "train digits --set training.batch=yes": "training.batch cannot be True: input should be a number",
    "train digits --set training.learning_rate=1e39": "less than or equal to 1000000",
    "train digits --set training.learning_rate=1e-300": "1e-12 or more",
    "train mnist-ncsn --data digits --set sampling.sampler.epsilon=on": "epsilon cannot be True",
    "train digits --ground red": "data.ground cannot be 'red': a ground is white, black, checker or a colour",
    "train digits-variations --ground '#fff'": "In the stage encoder: The setting data.ground cannot be '#fff'",
    "train digits --set data.ground=#ff0000": "data.ground cannot be None: a ground is white, black, checker or",
    "train digits --set data.fit=stretch": "data.fit cannot be 'stretch': input should be 'crop' or 'pad'",
    "train digits --set data.corrupt_limit=on": "corrupt_limit cannot be True",
    "train digits --set training.clip=.inf": "training.clip cannot be inf",
    "train digits --set training.batch=1000000000000": "training.batch cannot be",
    "train digits --set sampling.steps=1000000": "sampling.steps cannot be 1000000",
    f"train digits --set 'network.channels=[{'8,' * 17}]'": "network.channels cannot be",
    "train digits --set network.blocks=1000": "network.blocks cannot be 1000",
    "train digits --set data.size=1000000": "A batch of 256 images of 1x1000000x1000000 takes 1,024.0 TB",
    # what a model is told
    "train digits --set told.label.kind=colour": "'classes', 'numbers', 'embedding', 'picture' or 'text'",
    "train digits --set told.label.dropout=2": "told.label.dropout cannot be 2",
    "train digits --set told.label.kind=picture --set told.label.socket=vector": "only image",
    "train digits --set told.label.socket=tokens --set network.kind=plain": "the socket tokens, which the network "
    "plain has not",
    "train mnist-fc --set told.label.socket=tokens": "the network fully_connected has not",
    "train digits --set told.lable.dropout=0.2": "'told.label.dropout'",
    "train digits --set told.label.of=encoder": "an embedding, not as classes",
    # parts
    f"train digits --set '{SEEN}'": "give --part encoder=RUN",
    f"train digits --set '{SEEN}' --part encoder": "--part takes name=run",
    f"train digits --set '{SEEN}' --part encoder=": "--part takes name=run",
    f"train digits --set '{SEEN}' --part =runs/plan/encoder": "--part takes name=run",
    f"train digits --set '{SEEN}' --part eye=runs/plan/encoder": "'eye': its parts are encoder, codec",
    "train digits --part codec=runs/plan/encoder": "encoder is a classifier of clean images, not a codec",
    f"train digits --set '{SEEN}' --part encoder=missing": "The part 'encoder' of the model cannot be used",
    f"train digits --set '{SEEN}' --part encoder=empty": "empty is no run folder",
    f"train digits --set '{SEEN}' --part encoder=file": "file is damaged or no safetensors file",
    "train digits --part encoder=runs/plan/encoder": "uses no part 'encoder'",
    # plans
    "train digits-variations --part encoder=runs/plan/encoder": "makes its own parts",
    "train digits-variations --set training.batch=4": "its stages (encoder, drawing)",
    "train digits-variations --set batch=4": "its stages (encoder, drawing)",
    "train digits-variations --set encodr.training.batch=4": "its stages (encoder, drawing)",
    "train digits-variations --set encoder": "its stages (encoder, drawing)",
    "train digits-variations --set encoder.training.bach=4": "In the stage encoder: ",
    "train digits-variations --set encoder.network.kind=unet": "In the stage encoder: ",
    "train digits-variations --set drawing.training.batch=none": "training.batch cannot be 'none'",
    "train digits-variations --set drawing.parts=2": "In the stage drawing: ",
    "train digits-variations --for 1m --images 3": "not both",
    "train digits-variations --smoke --out runs/digits": "holds a single run and no plan",
    "train digits-variations --smoke --out texts": "holds other files and no plan",
    "train digits-variations --smoke --out file": "is a file",
    "train digits-variations --smoke --out runs/other-plan": "another plan, whose stages are codec, prior",
    "train digits-variations --smoke --out runs/same-stages": "another plan, whose stages are encoder, drawing",
    "train digits-variations --smoke --out runs/broken-plan": "plan.yaml cannot be read",
    "train digits-variations --smoke --seed 3 --out runs/plan": "seed is 0, not 3",
    "train digits-variations --smoke --set encoder.training.batch=4 --out runs/plan": "training.batch is 8, not 4",
    "train digits-variations --smoke --set drawing.training.batch=4 --out runs/plan": "runs/plan/drawing holds "
    "another run: its training.batch is 8, not 4",
    "train digits-variations --dry-run --set drawing.training.batch=4 --out runs/plan": "training.batch is",
    "train digits-variations --dry-run --smoke --out runs/digits": "holds a single run and no plan",
    "train digits --smoke --out runs/plan": "holds a plan and no run",
    "train digits --smoke --out runs/plan/encoder": "runs/plan/encoder holds another run",
    "sample runs/begun-plan": "has not come to its last stage, drawing, yet",
    "sample runs/broken-plan": "plan.yaml cannot be read",
    "sample runs/plan --label 3": "without labels",
    # where to
    "train digits --smoke --out file": "is a file",
    "train digits --smoke --out file/run": "is a file",
    "train digits --smoke --out texts": "holds other files",
    "train digits --out runs/digits": "training.batch is 8, not 256",
    "train digits --smoke --seed 3 --out runs/digits": "seed is 0, not 3",
    "train digits --smoke --set training.batch=4 --out runs/digits": "training.batch is 8, not 4",
    "train digits --dry-run --out texts": "holds other files",
    # samples
    "sample": "Missing argument",
    "sample missing": "missing",
    "sample empty": "empty is no run folder: it has no model.safetensors",
    "sample photos": "photos is no run folder",
    "sample file": "file",
    "sample runs/digits --ground red": "--ground cannot be 'red': a ground is white, black, checker or a colour",
    "sample runs/digits --ground black": "for transparent images, of 4 channels, and the model's have 1",
    "sample runs/digits --steps -5": "steps",
    "sample runs/digits --steps 0": "steps",
    "sample runs/digits --steps 1001": "1000",
    "sample runs/digits --steps few": "integer",
    "sample runs/digits --stesp 5": "--steps",
    "sample runs/digits --sampler ddmi": "sampler",
    "sample runs/digits --spacing even": "spacing",
    "sample runs/digits --eta 1.5": "eta",
    "sample runs/digits --eta 0.5 --sampler ddpm": "the sampler ddim",
    "sample runs/digits --variance large": "the sampler ddpm",
    "sample runs/digits --churn 2": "the sampler euler or heun",
    "sample runs/digits --sampler heun --churn -1": "churn",
    "sample runs/digits --sampler heun --churn-min 2 --churn-max 1": "lies above",
    "sample runs/digits --sampler heun --order 2": "the sampler unipc",
    "sample runs/digits --sampler unipc --order 4": "order",
    "sample runs/digits --schedule linaer": "schedule",
    "sample runs/digits --schedule linear --steps 1001": "linear schedule has 1000",
    "sample runs/digits --epsilon 0.1": "the sampler langevin",
    "sample runs/digits --updates 3": "the sampler langevin or pc",
    "sample runs/digits --sampler pc --epsilon 0.1": "the sampler langevin",
    "sample runs/digits --sampler pc --snr 0": "snr",
    "sample runs/digits --sampler pc --predictor ddpm": "predictor",
    "sample runs/digits --sampler ddpm --variance learned": "diffusion.variance=learned",
    "sample runs/digits --guidance -1": "guidance",
    "sample runs/digits --guidance nan": "guidance",
    "sample runs/digits --guidance 1e39": "The guidance of sampling cannot be 1e+39",
    "sample runs/digits --guidance inf": "guidance",
    "sample runs/digits --sampler heun --churn 1e39": "churn",
    "sample runs/digits -n 4294967295": "One picture of 4,294,967,295 images would be 4,325,",
    "sample runs/digits -n 1000000000000 --out x.npz": "1,000,000,000,000 images take 64.0 TB, and on",
    "sample runs/digits -n 1000000000000 --out x/": "1,000,000,000,000 images take 64.0 TB, and on the disk",
    "report missing": "no run folder or model file at missing",
    "report runs/digits --out page.pdf": "must end in .html or .htm",
    "report runs/digits runs/dae --data missing": "'missing'",
    "evaluate runs/digits -n 4294967295": "-n",
    "sample runs/digits --clip hard": "clip",
    "sample runs/digits -n 0": "-n",
    "sample runs/digits --batch 0": "--batch",
    "sample runs/digits --seed -1": "--seed",
    "sample runs/digits --label 10": "out of range",
    "sample runs/digits --label -1": "out of range",
    "sample runs/digits --label seven": "seven",
    "sample runs/digits --label 1,,2": "--label",
    "sample runs/digits --label ²": "No label is called '²'",
    "sample runs/digits --label ٣": "No label is called '٣'",
    "sample runs/digits --label --5": "No label is called '--5'",
    f"sample runs/digits --label {'9' * 5000}": "No label is called '999",
    "sample runs/digits --label ''": "not ''",
    "sample runs/digits --label 1,2,3 -n 2": "3 classes",
    "sample runs/digits --condition label": "written NAME=VALUE, not 'label'",
    "sample runs/digits --condition labl=3": "told no 'labl'; did you mean 'label'? (it is told label)",
    "sample runs/digits --condition label=10": "Label 10 is out of range",
    "sample runs/digits --condition label=1,2 --label 3": "'label' is told twice",
    "sample runs/digits --condition label=1 --label 3": "'label' is told twice",
    "sample runs/unlabelled --condition label=3": "told no 'label' (it is told nothing)",
    "sample runs/unlabelled --label 3": "without labels",
    "sample runs/unlabelled --guidance 2": "labels",
    "sample runs/digits --out texts/letter.txt": "is there already",
    "sample runs/digits --out texts": "holds files",
    "sample runs/digits --out file": "is a file",
    "sample runs/digits --out file/x.png": "is a file",
    "sample runs/digits --out x.pgn": ".png",
    f"sample runs/digits --out {'写' * 86}.png": "File name too long; give a shorter one",
    f"sample runs/digits --out {'x' * 256}/": "name too long",
    f"show schedules --out {'x' * 250}.svg": "name too long",
    f"export runs/digits --out {'x/' * 2500}x.safetensors": "name too long",
    f"train digits --smoke --out runs/{'写' * 86}": "name too long",
    "sample runs/digits --order 2 --sampler heun": "the sampler unipc",
    "sample runs/digits --sampler ddim --variance small": "the sampler ddpm",
    "evaluate runs/digits --sampler heun --eta 1": "the sampler ddim",
    # exports
    "export runs/digits": "'--out'",
    "export missing --out x.safetensors": "missing",
    "export runs/digits --out x.npz": "must end in .safetensors",
    "export runs/digits --out runs/dae/model.safetensors": "is there already",
    "export runs/digits --out texts": "is there already",
    "export runs/digits --out file/x.safetensors": "is a file",
    # figures
    "evaluate missing": "missing",
    "evaluate runs/digits --metrics fdc": "'fcd'",
    "evaluate runs/digits -n 1": "-n",
    "evaluate runs/digits --metrics bdp": "'bpd'",
    "evaluate runs/digits --metrics bpd --terms 0": "--terms",
    "evaluate runs/digits --data missing": "'missing'",
    "evaluate runs/digits --data faces": "no labels",
    "evaluate runs/digits --steps 2000": "1000",
    "evaluate runs/digits --backbone incepton": "did you mean 'inception'",
    "evaluate runs/digits --metrics fid --backbone inception@missing.pth": "nothing at missing.pth",
    "evaluate runs/digits --metrics bpd --backbone clip": "--backbone is for drawing images, and bpd draws none",
    "evaluate runs/digits --among 1": "--among",
    # a denoising autoencoder
    "sample runs/dae": "cannot draw images: it can clean images (unstir edit clean",
    "evaluate runs/dae": "cannot draw images: it can clean images (unstir edit clean",
    "show reverse runs/dae": "it can clean images (unstir edit clean",
    "show levels runs/dae": "one level of noise",
    "train mnist-dae --set diffusion.corruption=blur": "diffusion.corruption",
    "train mnist-dae --set diffusion.corruption=masking --set diffusion.schedule.amount=2": "share of pixels",
    "train digits --set diffusion.corruption=masking": "mnist-dae",
    "evaluate runs/dae --metrics bpd": "it can clean images (unstir edit clean",
    # a classifier
    "sample runs/plan/encoder": "a classifier of clean images and cannot draw images: it can classify images",
    "edit clean runs/plan/encoder photos/1.png": "cannot clean images: it can classify images",
    "evaluate runs/plan/encoder": "cannot draw images: it can classify images",
    "evaluate runs/plan/encoder --metrics bpd": "it can classify images",
    "show reverse runs/plan/encoder": "it can classify images",
    "show levels runs/plan/encoder": "it can classify images",
    # a file alone
    "evaluate runs/digits/model.safetensors": "evaluate it say which data with --data",
    "show levels runs/digits/model.safetensors": "give a run folder",
    # edits
    "edit": "Missing command",
    "edit cleam runs/dae photos/1.png": "'clean'",
    "edit clean runs/dae": "IMAGE",
    "edit clean missing photos/1.png": "missing",
    "edit clean runs/dae missing.png": "no image at missing.png",
    "edit clean runs/dae file": "cannot be read as an image",
    "edit clean runs/dae photos": "cannot be read as an image",
    "edit clean runs/dae photos/1.png --sigma 25": "leave sigma out",
    "edit clean runs/digits photos/1.png": "--sigma 25",
    "edit clean runs/digits photos/1.png --sigma -1": "--sigma 25",
    "edit clean runs/digits photos/1.png --sigma nan": "--sigma 25",
    "edit clean runs/digits photos/1.png --sigma 1e39": "--sigma 25",
    "edit clean runs/dae photos/1.png --out photos/2.png": "is there already",
    "edit clean runs/dae photos/1.png --out x.txt": "must end in .png",
    "edit inpaint runs/dae digit.png --mask mask.png": "cannot fill in, vary and deblur images: it can clean",
    "edit inpaint runs/digits digit.png --mask mask.png": "say what the picture shows by --label, out of 0",
    "edit inpaint runs/unlabelled digit.png --mask mask.png --label 3": "leave the label out",
    "edit inpaint runs/unlabelled digit.png": "--mask",
    "edit inpaint runs/unlabelled digit.png --mask missing.png": "no image at missing.png",
    "edit inpaint runs/unlabelled digit.png --mask photos/1.png": "24 by 20 pixels, and the picture is 8 by 8",
    "edit inpaint runs/unlabelled digit.png --mask digit.png": "neither 0 nor 255",
    "edit inpaint runs/unlabelled photos/1.png --mask mask.png": "is in colour, and the model's images are gray",
    "edit inpaint runs/unlabelled digit.png --mask mask.png --method magic": "magic",
    "edit inpaint runs/unlabelled digit.png --mask mask.png --steps 0": "steps",
    "edit inpaint runs/unlabelled digit.png --mask mask.png --out mask.png": "is there already",
    "edit vary runs/unlabelled digit.png --strength 1.5": "less than or equal to 1",
    "edit vary runs/unlabelled photos/1.png": "is in colour",
    "edit deblur runs/unlabelled digit.png": "--sigma",
    "edit deblur runs/unlabelled digit.png --sigma 0": "above 0 pixels",
    "edit deblur runs/unlabelled digit.png --sigma 1 --larger resize": "would change the blur",
    # pictures of ideas
    "show": "Missing command",
    "show schedule": "'schedules'",
    "show schedules --out texts/letter.txt": "is there already",
    "show schedules --out x.gif": "must end in .png, .jpg, .svg or .pdf",
    "show forward missing": "'missing'",
    "show forward empty": "is empty",
    "show forward missing.png": "missing.png",
    "show reverse missing": "missing",
    "show reverse runs/digits --label 12": "out of range",
    "show reverse runs/unlabelled --label 1": "without labels",
    "show reverse runs/digits -n 0": "-n",
    "show reverse runs/digits --out x.mp4": ".gif",
    "show levels runs/digits --out file/x.png": "is a file",
    "demo --for soon": "90s",
    "demo --out texts": "holds other files",
    "recipes digits": "digits",
}


def refused(answer: subprocess.CompletedProcess[str], expected: str) -> None:
    assert "Traceback" not in answer.stderr, answer.stderr
    assert answer.returncode == 2, answer.stderr
    assert answer.stderr.count("\n") == 1, answer.stderr
    assert answer.stderr.startswith("unstir: ")
    assert answer.stderr.rstrip().endswith((".", "?"))
    assert expected in answer.stderr
    assert answer.stdout == ""


@pytest.mark.parametrize("line", CASES)
def test_one_sentence_at_once(line: str, workplace: Path, forked: Command, listing: Listing) -> None:
    before, began = listing(workplace), time.monotonic()
    answer = forked(*shlex.split(line), folder=workplace)
    assert time.monotonic() - began < SECONDS
    refused(answer, CASES[line])
    assert listing(workplace) == before


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("left", [0, 4, 200])
def test_damaged_model(left: int, workplace: Path, forked: Command) -> None:
    model = workplace / "runs/digits/model.safetensors"
    model.write_bytes(model.read_bytes()[:left])
    for run in ("runs/digits", "runs/digits/model.safetensors"):
        refused(forked("sample", run, folder=workplace), "model.safetensors is damaged")


def test_damaged_checkpoint(workplace: Path, forked: Command, listing: Listing) -> None:
    older, newest = sorted((workplace / "runs/digits/checkpoints").glob("step-*"))
    cut_short(newest)
    before = listing(workplace)
    answer = forked("train", "digits", "--smoke", "--out", "runs/digits", folder=workplace)
    refused(answer, f"remove it to go on from {older.name}")
    assert newest.name in answer.stderr
    assert listing(workplace) == before


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (None, "is a safetensors file, but not of this unstir"),
        ({"config": "{not json"}, "unstir: other.safetensors is a safetensors file, but not of this unstir"),
        ({"config": '{"recipe": "digits"}'}, "what an older one wrote must be trained again"),
        ({"unstir": "2", "model": "{}"}, "what an older one wrote must be trained again"),
        ({"unstir": "two {}"}, "what it says of itself is not what was written"),
    ],
)
def test_other_safetensors_are_no_model(
    metadata: dict[str, str] | None, expected: str, workplace: Path, forked: Command, listing: Listing
) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(3, np.float32)}, workplace / "other.safetensors", metadata)
    before = listing(workplace)
    answer = forked("sample", "other.safetensors", folder=workplace)
    refused(answer, expected)
    assert "other.safetensors" in answer.stderr
    assert listing(workplace) == before


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, "holds no model"),
        ({"model": 3}, "holds no model"),
        ({"model": {}}, "no system is called None"),
        ({"model": {"kind": "denoser"}}, "did you mean 'denoiser'?"),
        ({"model": {"kind": "denoiser", "network": {"kind": "unit"}}}, "did you mean 'unet'?"),
        ({"model": {"kind": "denoiser", "colour": 3}}, "colour"),
    ],
)
def test_a_file_of_another_model_is_told(
    told: dict[str, object], expected: str, workplace: Path, forked: Command
) -> None:
    write_tensors(workplace / "other.safetensors", {"weight": torch.zeros(3)}, told)
    refused(forked("sample", "other.safetensors", folder=workplace), expected)


@pytest.mark.parametrize(
    "line", ["sample runs/digits", "evaluate runs/digits", "export runs/digits --out x.safetensors"]
)
def test_a_flipped_bit_in_the_weights(line: str, workplace: Path, inside: Command, listing: Listing) -> None:
    model = workplace / "runs/digits/model.safetensors"
    content = bytearray(model.read_bytes())
    content[-5] ^= 1
    model.write_bytes(content)
    before = listing(workplace)
    answer = inside(*line.split(), folder=workplace)
    refused(answer, "model.safetensors is damaged: its tensors are not those that were written")
    assert listing(workplace) == before


@pytest.mark.parametrize(
    "line", ["evaluate runs/digits", "show levels runs/digits", "train digits --smoke --out runs/digits"]
)
def test_broken_configuration(line: str, workplace: Path, forked: Command) -> None:
    """The model itself needs no config.yaml: it is drawn from all the same."""
    (workplace / "runs/digits/config.yaml").write_text("recipe: [digits\n  seed: 0\n")
    refused(forked(*line.split(), folder=workplace), "config.yaml cannot be read")


OF_A_PART = [
    "sample runs/plan",
    "sample runs/plan/drawing/model.safetensors",
    "edit clean runs/plan photos/1.png --sigma 25",
    "evaluate runs/plan",
    "show reverse runs/plan",
    "show levels runs/plan",
    "export runs/plan --out x.safetensors",
]


@pytest.mark.parametrize("line", OF_A_PART)
@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_a_part_that_is_not_what_it_was(
    harm: str, line: str, workplace: Path, forked: Command, listing: Listing
) -> None:
    part = workplace / "runs/plan/encoder/model.safetensors"
    if harm == "changed":
        other_weights(part)
    else:
        part.unlink()
    before = listing(workplace)
    answer = forked(*line.split(), folder=workplace)
    refused(
        answer,
        "The part 'encoder' of the model, runs/plan/encoder, has changed since"
        if harm == "changed"
        else "The part 'encoder' of the model cannot be used: runs/plan/encoder has no model.safetensors",
    )
    assert listing(workplace) == before


def other_weights(path: Path) -> None:
    """Train a model file a little more, as it were: other weights with the hash that is theirs."""
    from safetensors.torch import load_file

    from unstir.models.file import read_config, write

    weights = load_file(path)
    weights["head.bias"] += 0.5
    write(path, read_config(path)[1], weights)


def test_a_plan_does_not_go_on_with_another_part(workplace: Path, inside: Command, listing: Listing) -> None:
    other_weights(workplace / "runs/plan/encoder/model.safetensors")
    before = listing(workplace / "runs/plan/drawing")
    more = ["--set", "drawing.training.images=48"]
    answer = inside("train", "digits-variations", "--smoke", *more, "--out", "runs/plan", folder=workplace)
    assert answer.returncode == 2
    assert "has changed since" in answer.stderr and "Traceback" not in answer.stderr
    assert listing(workplace / "runs/plan/drawing") == before


def test_a_network_that_no_memory_holds(workplace: Path, inside: Command, listing: Listing) -> None:
    before = listing(workplace)
    line = ["train", "digits", "--set", "network.channels=[1000000,1000000]", "--out", "runs/new"]
    for more in ([], ["--dry-run", "--json"]):
        answer = inside(*line, *more, folder=workplace)
        assert answer.returncode == 2
        assert " parameters, whose training takes 5,880.0 TB, and there are " in answer.stderr, answer.stderr
    assert listing(workplace) == before


def test_a_column_of_another_kind(workplace: Path, inside: Command, listing: Listing) -> None:
    before = listing(workplace)
    line = ["train", "digits", "--smoke", "--set", "told.label.kind=numbers", "--out", "runs/new"]
    answer = inside(*line, folder=workplace)
    assert answer.returncode == 2
    assert answer.stderr == (
        "unstir: The model is to be told label as numbers, and the data's label is classes: "
        "set told.label.kind to classes, or told={} to leave it out.\n"
    )
    assert listing(workplace) == before


def test_a_folder_changed_since(workplace: Path, inside: Command) -> None:
    first = ["train", "images", "--data", "photos", "--smoke", "--out", "runs/photos"]
    assert inside(*first, folder=workplace).returncode == 0
    (workplace / "photos/3.png").unlink()
    answer = inside(*first, "--set", "training.images=64", folder=workplace)
    assert answer.returncode == 2
    assert "changed since" in answer.stderr
    assert "Traceback" not in answer.stderr


def give_up_privileges() -> None:
    """Take from root the right to read and write everything: permissions then hold for it as for anyone."""
    if os.getuid() == 0:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs permissions as on Unix")
@pytest.mark.parametrize(
    ("closed", "mode", "line", "expected"),
    [
        ("photos", 0o000, "train images --data photos", "photos"),
        ("texts", 0o500, "train digits --smoke --out texts/run", "permission"),
        ("texts", 0o500, "sample runs/digits --out texts/x.png", "permission"),
        ("runs/digits", 0o500, "evaluate runs/digits", "permission"),
        ("runs/digits/samples", 0o500, "sample runs/digits", "permission"),
        ("runs/digits", 0o000, "sample runs/digits", "runs/digits"),
        ("runs/digits", 0o000, "train digits --smoke --out runs/digits", "runs/digits"),
        ("runs", 0o000, "sample runs/digits", "runs/digits"),
        ("runs/digits/model.safetensors", 0o000, "sample runs/digits", "model.safetensors"),
    ],
)
def test_permissions(
    closed: str,
    mode: int,
    line: str,
    expected: str,
    workplace: Path,
    command: Command,
    listing: Listing,
    without_torch: dict[str, str],
) -> None:
    before = listing(workplace)
    usual = (workplace / closed).stat().st_mode
    (workplace / closed).chmod(mode)
    try:
        answer = command(*line.split(), folder=workplace, env=without_torch, preexec_fn=give_up_privileges)
    finally:
        (workplace / closed).chmod(usual)
    refused(answer, expected)
    assert listing(workplace) == before


def test_a_pipe_is_not_waited_for(workplace: Path, forked: Command) -> None:
    os.mkfifo(workplace / "pipe")
    for line in ("sample pipe", "edit clean runs/dae pipe", f"train digits --set '{SEEN}' --part encoder=pipe"):
        refused(forked(*shlex.split(line), folder=workplace), "it is no file")
