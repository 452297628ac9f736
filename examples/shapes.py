"""Scenes of the set `shapes` with their captions: one row to train on, and one held out.

python examples/shapes.py docs/shapes.png
"""

import sys
from textwrap import fill

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from unstir.data.shapes import caption, render, scene


def main(figure: str, size: int = 256, columns: int = 5) -> None:
    _, axes = plt.subplots(2, columns, figsize=(2.6 * columns, 7.2))
    for held_out, row in enumerate(axes):
        for i, axis in enumerate(row):
            one = scene(i, held_out=bool(held_out))
            axis.imshow(render(one, size).transpose(1, 2, 0))
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(fill(caption(one, i), 32), fontsize=9)
        row[0].set_ylabel("held out" if held_out else "to train on", fontsize=12)
    plt.tight_layout()
    plt.savefig(figure, dpi=80)
    print(f"The figure is at {figure}")


if __name__ == "__main__":
    main(sys.argv[1])
