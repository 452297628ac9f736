"""An image's noise is decided by its own seed and by nothing else."""

import torch

from unstir.sampling import SeededNoise


def test_noise_does_not_depend_on_the_batch() -> None:
    together = SeededNoise([5, 6, 7])
    first, second = together(torch.zeros(3, 2, 4, 5)), together(torch.zeros(3, 2, 4, 5))
    for i, seed in enumerate([5, 6, 7]):
        alone = SeededNoise([seed])
        assert torch.equal(alone(torch.zeros(1, 2, 4, 5))[0], first[i])
        assert torch.equal(alone(torch.zeros(1, 2, 4, 5))[0], second[i])
    shuffled = SeededNoise([7, 5])(torch.zeros(2, 2, 4, 5))
    assert torch.equal(shuffled, first[[2, 0]])


def test_seeds_and_draws_differ() -> None:
    noise = SeededNoise([0, 1])
    first, second = noise(torch.zeros(2, 500)), noise(torch.zeros(2, 500))
    rows = torch.cat([first, second])
    correlation = torch.corrcoef(rows) - torch.eye(4)
    assert correlation.abs().max().item() < 0.25


def test_streams_of_a_seed_differ_and_are_each_its_own() -> None:
    like = torch.zeros(2, 500)
    rows = torch.cat([SeededNoise([0, 1], stream)(like) for stream in (0, 1, 2)])
    assert (torch.corrcoef(rows) - torch.eye(6)).abs().max().item() < 0.25
    assert torch.equal(SeededNoise([1], 2)(like[1:]), rows[5:])


def test_equal_seeds_give_equal_noise() -> None:
    noise = SeededNoise([3, 3])(torch.zeros(2, 10))
    assert torch.equal(noise[0], noise[1])


def test_noise_is_standard_normal() -> None:
    noise = SeededNoise(range(50))(torch.zeros(50, 1, 40, 40)).double()
    assert abs(noise.mean().item()) < 5 / 80_000**0.5
    assert abs(noise.var().item() - 1) < 5 * (2 / 80_000) ** 0.5
    assert abs((noise**4).mean().item() - 3) < 5 * (96 / 80_000) ** 0.5


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = SeededNoise([9])(torch.zeros(1, 8))
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(1)
    assert torch.equal(SeededNoise([9])(torch.zeros(1, 8)), first)


def test_noise_follows_the_type_of_the_images_but_not_its_values() -> None:
    double = SeededNoise([4])(torch.ones(1, 2, 3, dtype=torch.float64))
    single = SeededNoise([4])(torch.zeros(1, 2, 3))
    assert double.dtype == torch.float64 and single.dtype == torch.float32
    assert torch.equal(double.float(), single)
