"""What a solver's order is worth: tables of solvers by steps for a trained run.

The first says how good the images are: their Fréchet classifier distance to the test images. The second says how
far they are from where the solver leads in ever more steps: the root mean square distance of their pixels, which
lie in [-1, 1], from the same 100 images drawn in 500 steps. Solvers with fresh noise have no such limit.

unstir train mnist --for 20m
python examples/solvers.py runs/mnist 1000       # without guidance
python examples/solvers.py runs/mnist 1000 0.5   # with guidance 0.5, as the recipe draws
"""

import sys
from itertools import product
from pathlib import Path

import unstir
from unstir.data.load import load as load_images
from unstir.evaluation.measure import measure
from unstir.training.run_folder import data_of

SOLVERS = ("ddpm", "ddim", "heun", "dpm++2m", "dpm++3m", "dpm++sde", "unipc", "plms")
WITH_NOISE = ("ddpm", "dpm++sde")
STEPS = (5, 10, 20, 50, 100)
FOLLOWED = 100


def main(path: str, n: int, guidance: float = 0.0) -> None:
    run = unstir.load(path)
    splits = load_images(data_of(Path(path)))
    settings = {"guidance": guidance, "batch": 50}
    limit = run.sample(FOLLOWED, sampler="unipc", steps=500, **settings).tensor
    fcd, distance = {}, {}
    for solver, steps in product(SOLVERS, STEPS):
        images = run.sample(n, sampler=solver, steps=steps, **settings)
        figures = measure([images], splits, ["fcd"], progress=False)
        fcd[solver, steps] = float(figures["fcd"])
        distance[solver, steps] = float((images.tensor[:FOLLOWED] - limit[:n]).square().mean().sqrt())
        print(f"{solver} in {steps} steps: {fcd[solver, steps]:.4g}", file=sys.stderr)
    show(f"Fréchet classifier distance of {n:,} images", fcd, SOLVERS)
    print(f"\nAs many real training images: {figures['fcd_floor']:.3g}\n")
    show("distance from the limit", distance, [solver for solver in SOLVERS if solver not in WITH_NOISE])


def show(title: str, values: dict[tuple[str, int], float], solvers: list[str] | tuple[str, ...]) -> None:
    rows = [[title, *(f"{steps} steps" for steps in STEPS)], ["---"] * (1 + len(STEPS))]
    rows += [[f"`{solver}`", *(f"{values[solver, steps]:.3g}" for steps in STEPS)] for solver in solvers]
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000, *map(float, sys.argv[3:]))
