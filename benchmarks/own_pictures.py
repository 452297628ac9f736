"""Folders of own pictures by budget: what the recipe ``images`` makes of them.

python -m benchmarks.own_pictures folders FOLDER --data SETS       # writes four folders of pictures
python -m benchmarks.own_pictures measure RUN [RUN ...]            # distance, accuracy and copies of trained runs
python -m benchmarks.own_pictures peer PICTURES OUT                # what a well-known package makes of a folder

SETS has the folders ``emoji`` and ``cifar10``, each a data set of that name.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import unstir
from unstir.data.config import DataConfig
from unstir.data.load import load
from unstir.evaluation.measure import measure
from unstir.models.samples import Samples
from unstir.training.run_folder import RunFolder

CATEGORIES = (1, 3, 4, 5, 6, 7, 8, 9)
"""Of the emoji's ten, those that have a hundred pictures."""
METRICS = ("fd", "kd", "accuracy", "precision", "recall", "memorization")


def main() -> None:
    """Parse, and write folders or measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.own_pictures", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("folders", help="write four folders of pictures")
    write.add_argument("folder", type=Path)
    write.add_argument("--data", type=Path, required=True, help="where the folders emoji and cifar10 are")
    tell = commands.add_parser("measure", help="measure trained runs")
    tell.add_argument("runs", type=Path, nargs="+")
    tell.add_argument("-n", type=int, default=400, help="how many drawings")
    tell.add_argument("--guidance", type=float, nargs="+", help="as drawn with; the run's own by default")
    other = commands.add_parser("peer", help="train denoising-diffusion-pytorch's model on a folder, and draw")
    other.add_argument("pictures", type=Path)
    other.add_argument("out", type=Path, help="a new folder")
    other.add_argument("--seconds", type=float, default=600.0, help="of training")
    other.add_argument("-n", type=int, default=40, help="how many drawings")
    args = parser.parse_args()
    if args.command == "folders":
        folders(args.folder, args.data)
        return
    if args.command == "peer":
        print(json.dumps(peer(args.pictures, args.out, args.seconds, args.n)))
        return
    for run in args.runs:
        for guidance in args.guidance or (None,):
            print(json.dumps({"run": str(run), **figures(run, args.n, guidance)}), flush=True)


def folders(folder: Path, data: Path) -> None:
    """Write ``emoji-800``, ``emoji``, ``photographs`` and ``mixed`` under ``folder``."""
    counts = dict.fromkeys(CATEGORIES, 0)
    for number, (picture, kind, name) in enumerate(_rows(data / "emoji", "category")):
        _save(picture, folder / "emoji" / name / f"{number}.png")
        if kind in counts and counts[kind] < 100:
            counts[kind] += 1
            _save(picture, folder / "emoji-800" / name / f"{number}.png")
    generator = np.random.default_rng(0)
    horses = (picture for picture, kind, _ in _rows(data / "cifar10", "label") if kind == 7)
    for number, picture in enumerate(horses):
        _save(picture, folder / "photographs" / f"{number}.png")
        if number < 300:
            height, width = generator.integers(40, 161, 2)
            scale = max(height, width) / 32
            large = picture.resize((round(32 * scale),) * 2, Image.Resampling.BICUBIC)
            left, top = (large.width - width) // 2, (large.height - height) // 2
            _save(large.crop((left, top, left + width, top + height)), folder / "mixed" / f"{number}.png")


def _rows(source: Path, label: str) -> Iterator[tuple[Image.Image, int, str]]:
    """Yield each picture of a set's training part, its class, and the class's name as a folder's."""
    from datasets import load_dataset

    rows = load_dataset(str(source))["train"]
    image = "image" if "image" in rows.features else "img"
    for row in rows:
        name = rows.features[label].int2str(row[label])
        yield row[image], row[label], name.split()[0].lower()


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def figures(run: Path, count: int, guidance: float | None) -> dict[str, object]:
    """Return how near drawings come to the pictures that a run was trained on."""
    config = RunFolder(run).read_config()
    splits = load(config.data)
    model = unstir.load(run)
    asked = {} if guidance is None else {"guidance": guidance}
    began = time.monotonic()
    drawn = list(model.draw(range(count), batch=50, **asked))
    seconds = (time.monotonic() - began) / count
    metrics = [name for name in METRICS if name != "accuracy" or config.model.told]
    found = measure(drawn, splits, metrics, backbone="efficientnet-lite0", against="train")
    return {"size": config.data.size, "guidance": guidance, "seconds_each": round(seconds, 3), **found}


def peer(pictures: Path, out: Path, seconds: float, count: int) -> dict[str, object]:
    """Train as the first page of denoising-diffusion-pytorch does, at 64 pixels, and measure what it draws.

    Its trainer knows no budget in time: a first training of few steps says how many there is time for.
    """
    from denoising_diffusion_pytorch import GaussianDiffusion, Trainer, Unet

    def trained(steps: int, folder: Path) -> Any:
        diffusion = GaussianDiffusion(Unet(64, dim_mults=(1, 2, 4, 8)), image_size=64, sampling_timesteps=25)
        how = {"train_batch_size": 32, "gradient_accumulate_every": 2, "train_lr": 8e-5, "ema_decay": 0.995}
        often = {"save_and_sample_every": 10**9, "calculate_fid": False, "num_samples": 4}
        trainer = Trainer(
            diffusion, str(pictures), train_num_steps=steps, results_folder=str(folder), **how, **often
        )
        began = time.monotonic()
        trainer.train()
        return trainer, time.monotonic() - began

    out.mkdir(parents=True)
    _, took = trained(2, out / "first")
    steps = max(1, round(seconds / (took / 2)))
    trainer, took = trained(steps, out / "results")
    with torch.no_grad():
        drawn = Samples(
            torch.cat([trainer.ema.ema_model.sample(10) for _ in range(-(-count // 10))])[:count] * 2 - 1
        )
    drawn.save(out / "drawn.png")
    splits = load(DataConfig(source=str(pictures), size=(64, 64)))
    found = measure([drawn], splits, ["kd"], backbone="efficientnet-lite0", against="train")
    parameters = sum(one.numel() for one in trainer.model.parameters())
    return {"steps": steps, "images": 64 * steps, "seconds": round(took), "parameters": parameters, **found}


if __name__ == "__main__":
    main()
