"""The time element's worth: two runs that differ in it alone, side by side in one figure.

unstir train mnist-fc --for 5m && unstir train mnist-fc-notime --for 5m
python examples/time_ablation.py runs/mnist-fc runs/mnist-fc-notime docs/time-ablation.png
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import unstir


def main(with_time: str, without_time: str, figure: str) -> None:
    runs = {"with the time": with_time, "without the time": without_time}
    _, axes = plt.subplots(1, 3, figsize=(13, 4.2), width_ratios=(1, 1.1, 1.1))
    for axis, (name, path) in zip(axes[1:], runs.items()):
        lines = [json.loads(line) for line in (Path(path) / "metrics.jsonl").read_text().splitlines()]
        validated = [line for line in lines if "validation_loss" in line]
        axes[0].plot(
            [line["images"] for line in validated], [line["validation_loss"] for line in validated], label=name
        )
        axis.imshow(unstir.load(path).sample(80, seed=0).grid(), cmap="gray")
        axis.set_title(name)
        axis.axis("off")
    axes[0].set(
        xlabel="images seen", ylabel="loss on held-out images", yscale="log", title="the loss falls for both"
    )
    axes[0].legend()
    plt.tight_layout()
    plt.savefig(figure, dpi=110)
    print(f"The figure is at {figure}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
