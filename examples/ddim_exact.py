"""The DDIM table without a network: the exact denoiser of some of a set's images, drawn from in all ways.

What is off in it is the samplers' error alone: beside `unstir compare RUN --eta 0,0.5,1 --variance large` it tells
which part of that table is the network's.

python examples/ddim_exact.py mnist 2000
"""

import sys

from unstir.data.config import DataConfig
from unstir.data.load import load
from unstir.diffusion.exact import IdealDenoiser
from unstir.diffusion.schedule import cosine
from unstir.evaluation.measure import measure
from unstir.models.samples import Samples
from unstir.sampling import DDIM, DDPM, SeededNoise, grid, sample

STEPS = (5, 10, 20, 50, 100)
WAYS = {"ddim eta=0": DDIM(0.0), "ddim eta=0.5": DDIM(0.5), "ddim eta=1": DDIM(1.0), "ddpm large": DDPM("large")}


def main(source: str, images: int, n: int = 500) -> None:
    splits = load(DataConfig(source=source))
    some = splits.train.examples(range(0, len(splits.train), len(splits.train) // images))[0][:images]
    denoise, schedule = IdealDenoiser(some), cosine()
    for name, sampler in WAYS.items():
        row = []
        for steps in STEPS:
            noise = SeededNoise(range(n))
            x = sample(denoise, noise(some[:1].expand(n, -1, -1, -1)), grid(schedule, steps), sampler, noise)
            row.append(measure([Samples(x)], splits, ["fcd"], progress=False))
        print(name, *(f"{figures['fcd']:.3f}" for figures in row), flush=True)
    print(f"as many real images: {row[0]['fcd_floor']:.3f}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
