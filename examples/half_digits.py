"""The lower half of digits, hidden and filled in: by their mean, by a model of digits, by one trained for it.

unstir train mnist --images 45000 --set network.channels=[64,128] --set training.batch=64 \
    --set told={} --out runs/mnist-untold
unstir train mnist-inpaint --images 40000
python examples/half_digits.py runs/mnist-untold runs/mnist-inpaint docs/half-digits.png
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

import unstir
from unstir.data.load import load as load_images
from unstir.evaluation.ruler import ruler
from unstir.files import whole_file
from unstir.models.samples import Samples
from unstir.training.run_folder import data_of

SHOWN = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("untold", "inpainter", "figure"):
        parser.add_argument(name, type=Path)
    parser.add_argument("-n", type=int, default=100, help="how many held-out digits")
    parser.add_argument("--data", help="where the runs' images are now")
    asked = parser.parse_args()

    splits = load_images(data_of(asked.untold, asked.data))
    images, told = splits.held_out.examples(np.arange(asked.n))
    hidden = torch.zeros(images.shape[-2:], dtype=torch.bool)
    hidden[hidden.shape[0] // 2 :] = True
    mean = torch.tensor(np.mean(splits.train.pixels, axis=0) / 127.5 - 1, dtype=torch.float32)
    untold, inpainter, reader = unstir.load(asked.untold), unstir.load(asked.inpainter), ruler(splits)
    mask = hidden[None, None]
    ways = {
        "left gray": lambda x: torch.where(hidden, torch.zeros(()), x),
        "mean of the digits": lambda x: torch.where(hidden, mean, x),
        "replacement, 50 steps": lambda x: untold.inpaint(x, hidden, method="replacement", steps=50).tensor,
        "posterior, 50 steps": lambda x: untold.inpaint(x, hidden, method="posterior", steps=50).tensor,
        "repaint, 50 steps, jumps of 2": lambda x: untold.inpaint(x, hidden, method="repaint", steps=50).tensor,
        "repaint, 250 steps, jumps of 10": lambda x: (
            untold.inpaint(x, hidden, method="repaint", steps=250, sampler="ddpm").tensor
        ),
        "trained for it, 30 steps": lambda x: inpainter.edit("uncropping", x, mask, steps=30).tensor,
    }
    untold.sample(2, steps=2)  # compiles what is kept from here on

    print("| the lower half | read as the digit it was | seconds an image | known pixels |")
    print("| --- | ---: | ---: | --- |")
    rows = [images[:SHOWN]]
    for name, fill in ways.items():
        began = time.monotonic()
        filled = fill(images)
        seconds = (time.monotonic() - began) / asked.n
        right = float((reader.classify(filled).argmax(1) == told["label"]).double().mean())
        same = torch.equal(filled[..., ~hidden], images[..., ~hidden])
        print(f"| {name} | {right:.0%} | {seconds:.2g} | {'equal' if same else 'changed'} |", flush=True)
        rows.append(filled[:SHOWN])
    whole = float((reader.classify(images).argmax(1) == told["label"]).double().mean())
    print(f"| the digits themselves | {whole:.0%} | | |")
    with whole_file(asked.figure) as partial:
        Samples(torch.cat(rows)).grid(SHOWN).save(partial, format="png")
    print(f"\nThe picture is at {asked.figure}: the digits, then a row for each line of the table")


if __name__ == "__main__":
    main()
