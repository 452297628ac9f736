from __future__ import annotations

import numpy as np
import torch

from unstir.diffusion.schedule import cosine, linear
from unstir.evaluation.figures.forward import draw_forward, forward_stages

IMAGE = torch.rand(3, 6, 9, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_stages_run_from_the_image_to_noise_under_one_noise() -> None:
    stages = forward_stages(IMAGE, seed=4)
    noises = []
    for name, schedule in (("linear", linear()), ("cosine", cosine())):
        images, alpha_bar = stages[name]
        assert torch.equal(images[0], IMAGE)
        assert alpha_bar[0] == 1 and bool((alpha_bar[1:] < alpha_bar[:-1]).all())
        torch.testing.assert_close(alpha_bar[-1], schedule.alphas_cumprod[-1])
        third = torch.lerp(schedule.alphas_cumprod[332], schedule.alphas_cumprod[333], 1 / 3)
        torch.testing.assert_close(alpha_bar[3], third.double())  # t = 3 / 9
        a = alpha_bar[1:, None, None, None]
        noises.append((images[1:] - a.sqrt() * IMAGE) / (1 - a).sqrt())
    both = torch.cat(noises)
    torch.testing.assert_close(both, both[:1].expand_as(both), rtol=1e-4, atol=1e-4)
    assert not torch.equal(forward_stages(IMAGE, seed=5)["linear"][0][5], stages["linear"][0][5])


def test_the_figure_shows_the_stages_in_two_labelled_rows() -> None:
    axes = np.array(draw_forward(IMAGE, seed=4).axes).reshape(2, 10)
    for row, (name, (images, alpha_bar)) in zip(axes, forward_stages(IMAGE, seed=4).items()):
        assert row[0].get_ylabel() == name
        for axis, image, value in zip(row, images, alpha_bar):
            shown = axis.images[0].get_array()
            expected = ((image.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0)
            np.testing.assert_array_equal(shown, expected.numpy())
            assert axis.get_xlabel().endswith(f"{float(value):.2g}")
