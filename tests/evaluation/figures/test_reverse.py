from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unstir.data.dataset import Splits
from unstir.evaluation.figures.reverse import draw_reverse, film_of, reverse_stages
from unstir.models.denoiser import DenoiserModel
from unstir.models.film import write_film
from unstir.models.samples import Samples
from unstir.sampling import SeededNoise, grid

MakeRun = Callable[..., DenoiserModel]


@pytest.mark.parametrize(
    "sampling", [{}, {"sampler": "ddpm"}, {"sampler": {"name": "ddim", "eta": 0.5}, "clip": "none"}], ids=str
)
def test_stages_lead_from_the_noise_to_the_images_that_the_run_draws(
    sampling: dict[str, object], run: MakeRun, digits: Splits
) -> None:
    images, _ = digits.train.examples(np.arange(40))
    made = run(images, **sampling)
    stages = reverse_stages(made, n=3, count=7, label=4, seed=5)
    levels = grid(made.schedule, 12)
    assert [float(stage.level.t) for stage in stages] == [float(levels[i].t) for i in (0, 2, 4, 6, 8, 10, 12)]
    noise = SeededNoise([5, 6, 7])(images[:3])
    torch.testing.assert_close(stages[0].x, noise, rtol=1e-3, atol=2e-3)
    drawn = made.sample(3, label=4, seed=5).tensor
    torch.testing.assert_close(stages[-1].x.clamp(-1, 1), drawn)
    assert torch.equal(stages[-1].x0, stages[-1].x)
    for stage in stages[:-1]:  # beside x stands what the network believes of that very x
        with torch.no_grad():
            believed = made.denoiser(stage.x, stage.level).x0.clamp(-1, 1)
        torch.testing.assert_close(stage.x0, believed, rtol=1e-3, atol=5e-3)


def test_few_steps_are_all_shown(run: MakeRun, digits: Splits) -> None:
    images, _ = digits.train.examples(np.arange(40))
    assert len(reverse_stages(run(images, steps=4), n=1, count=10)) == 5


def test_a_strip_has_two_rows_for_each_image(run: MakeRun, digits: Splits) -> None:
    images, _ = digits.train.examples(np.arange(40))
    stages = reverse_stages(run(images), n=2, count=10)
    axes = np.array(draw_reverse(stages).axes).reshape(4, 10)
    assert [row[0].get_ylabel() for row in axes] == ["$x_t$", r"$\hat x_0$"] * 2
    for j, stage in enumerate(stages):
        assert axes[0, j].get_title() == f"t = {float(stage.level.t):.2f}"
        for i, image in enumerate((stage.x[0], stage.x0[0], stage.x[1], stage.x0[1])):
            expected = Samples(image[None]).bytes()[0, 0].numpy()
            np.testing.assert_array_equal(axes[i, j].images[0].get_array(), expected)


def test_a_film_has_a_frame_for_each_stage_and_rests_on_the_last(
    run: MakeRun, digits: Splits, tmp_path: Path
) -> None:
    images, _ = digits.train.examples(np.arange(40))
    stages = reverse_stages(run(images), n=2, count=60)
    write_film(film_of(stages), tmp_path / "x.gif", "GIF")
    with Image.open(tmp_path / "x.gif") as film:
        assert film.n_frames == len(stages) == 13
        assert film.info["loop"] == 0
        film.seek(12)
        assert film.info["duration"] == 2000
        frame = np.asarray(film.convert("L"), dtype=int)
    # The images lie under a line of text, with 2 pixels around each: above x, below x0, which at the end are one.
    grid = np.asarray(Samples(torch.cat([stages[-1].x] * 2)).grid(2).convert("L"), dtype=int)
    assert np.abs(frame[-len(grid) :] - grid).max() <= 2
