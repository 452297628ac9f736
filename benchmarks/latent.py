"""Latent diffusion at several factors of downsampling, beside diffusion of pixels.

python -m benchmarks.latent FOLDER --data PICTURES [--size 64] [--for 10m] [--factors 1,4,8,16] [-n 200]

As in Rombach et al. 2022, section 4.1, each factor f has the same budget: f = 1 spends it all on a denoiser of
pixels, the others four tenths on a codec. What is drawn is measured by the distances of EfficientNet-Lite0 to the
training images. Runs are left in FOLDER, and the same command again goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import unstir
from unstir.cli.main import run
from unstir.data.load import load
from unstir.evaluation.measure import measure
from unstir.evaluation.reconstruction import measure_reconstruction
from unstir.quantities import seconds_in
from unstir.training.log import lines
from unstir.training.run_folder import RunFolder

CODECS = {4: ((64, 128), 2, 4), 8: ((64, 128, 192), 2, 4), 16: ((64, 128, 192), 4, 8)}
"""By f the codec's channels, its patch and the channels of its codes: the paper's but for the widths."""
FIRST = 0.4
"""The part of the budget that a codec has."""
GRID = 16
"""How many patches are on a side of what a denoiser sees, at most."""


def main() -> None:
    """Parse, train and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latent", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--for", dest="budget", default="10m")
    parser.add_argument("--factors", default="1,4,8,16")
    parser.add_argument("-n", type=int, default=200)
    args = parser.parse_args()
    for factor in map(int, args.factors.split(",")):
        out = args.folder / f"f{factor}"
        train(out, args.data, args.size, factor, seconds_in(args.budget))
        print(json.dumps({"f": factor, **figures(out, factor, args.n)}), flush=True)


def train(out: Path, data: str, size: int, factor: int, seconds: float) -> None:
    """Train what draws, and before it the codec that it needs."""
    common = ["--data", data, "--set", f"data.size={size}"]
    places = size // factor
    network = [f"network.patch={max(1, places // GRID)}", "network.channels=[128,192]", "network.blocks=1"]
    network += ["network.attention=[none,full]", "training.batch=32", "data.augment=0", "data.flip=true"]
    if factor == 1:
        _command(
            "train", "images", *common, "--for", f"{seconds:g}s", "--out", str(out / "drawing"), *_set(network)
        )
        return
    channels, patch, latent = CODECS[factor]
    own = [f"network.channels={[*channels]}", f"network.patch={patch}", f"network.latent={latent}"]
    first = ["--for", f"{FIRST * seconds:g}s", "--out", str(out / "codec")]
    _command("train", "images-codec", *common, *first, *_set(own))
    rest = [
        "--for",
        f"{(1 - FIRST) * seconds:g}s",
        "--part",
        f"codec={out / 'codec'}",
        "--out",
        str(out / "drawing"),
    ]
    _command("train", "images", *common, *rest, *_set(network))


def _set(settings: list[str]) -> list[str]:
    return [text for one in settings for text in ("--set", one)]


def _command(*words: str) -> None:
    code = run(list(words))
    if code:
        raise SystemExit(code)


def figures(out: Path, factor: int, count: int) -> dict[str, Any]:
    """Return what came of it: of reconstructions, of drawings, and how fast it was trained and draws."""
    folder = RunFolder(out / "drawing")
    splits = load(folder.read_config().data)
    found: dict[str, Any] = {}
    if factor > 1:
        back = measure_reconstruction(unstir.load(out / "codec"), splits, n=200)
        found = {f"reconstruction {name}": round(value, 4) for name, value in back.items()}
    model: Any = unstir.load(folder.path)
    began = time.monotonic()
    drawn = list(model.draw(range(count), batch=50))
    seconds = time.monotonic() - began
    measured = measure(drawn, splits, ["fd", "kd"], backbone="efficientnet-lite0", against="train")
    newest = lines(folder.metrics)[-1]
    speed = {"images_per_second": newest["images_per_second"], "images": newest["images"]}
    return found | measured | speed | {"drawn_per_second": round(count / seconds, 2)}


if __name__ == "__main__":
    main()
