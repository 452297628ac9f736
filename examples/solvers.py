"""What a solver's order is worth: a table of solvers by steps for a trained run, without guidance.

unstir train mnist --for 20m
python examples/solvers.py runs/mnist 5000
"""

import sys
from itertools import product

import unstir
from unstir.data.load import load as load_images
from unstir.evaluation.evaluate import measure

SOLVERS = ("ddpm", "ddim", "heun", "dpm++2m", "dpm++3m", "dpm++sde", "unipc", "plms")
STEPS = (5, 10, 20, 50, 100)


def main(path: str, n: int) -> None:
    run = unstir.load(path)
    splits = load_images(run.config.data)
    found = {}
    for solver, steps in product(SOLVERS, STEPS):
        images = run.sample(n, sampler=solver, steps=steps, guidance=0.0, batch=250)
        figures = measure(images.tensor, images.labels, splits, ["fcd"], progress=False)
        found[solver, steps] = float(figures["fcd"])
        print(f"{solver} in {steps} steps: {found[solver, steps]:.4g}", file=sys.stderr)
    rows = [[f"Fréchet classifier distance of {n:,} images", *(f"{steps} steps" for steps in STEPS)]]
    rows.append(["---"] * len(rows[0]))
    rows += [[f"`{solver}`", *(f"{found[solver, steps]:.3g}" for steps in STEPS)] for solver in SOLVERS]
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    print(f"\nAs many real training images: {figures['fcd_floor']:.3g}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000)
