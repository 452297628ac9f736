from __future__ import annotations

import pytest
import torch

from unstir.networks.convolutional import Discriminator, Encoder, Generator, Reader

SHAPES = [(1, 28, 28), (3, 32, 32), (2, 7, 13), (5, 3, 1)]


def awake(network: torch.nn.Module) -> torch.nn.Module:
    """Give weights to layers that start at zero."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return network


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("patch", [1, 2])
def test_images_of_any_size_are_drawn_and_every_pixel_is_read(shape, patch):
    torch.manual_seed(0)
    x = awake(Generator(shape, 6, (8, 16, 16), patch=patch, embedding=12))(torch.randn(3, 6), torch.randn(3, 12))
    assert x.shape == (3, *shape) and x.abs().max() <= 1
    assert x.flatten(1).std(1).min() > 0
    x = x.detach().requires_grad_()
    discriminator = awake(Discriminator(Reader(shape, (8, 16, 16), patch=patch, features=12)))
    discriminator(x, torch.randn(3, 12)).sum().backward()
    assert x.grad is not None and x.grad.ne(0).all()


def test_an_unbounded_generator_leaves_the_interval():
    torch.manual_seed(0)
    bounded, free = (Generator((1, 4, 4), 2, (8,), patch=1, embedding=4, bounded=b) for b in (True, False))
    free.load_state_dict(bounded.state_dict())
    free.out.weight.data *= 20
    bounded.out.weight.data *= 20
    z = torch.randn(4, 2)
    torch.testing.assert_close(free(z).tanh(), bounded(z))
    assert free(z).abs().max() > 1


@pytest.mark.parametrize("latent", [16, 256])
def test_a_latent_vector_starts_as_loud_as_what_is_told(latent):
    torch.manual_seed(0)
    network = Generator((1, 4, 4), latent, (8,), embedding=512)
    spoken = network.latent(torch.randn(400, latent)) - network.latent.bias
    assert spoken.std().item() == pytest.approx(1, rel=0.1)


def test_an_image_depends_on_its_own_vectors_and_on_both():
    torch.manual_seed(0)
    network = awake(Generator((1, 8, 8), 6, (8, 16), embedding=12))
    z, told = torch.randn(4, 6), torch.randn(4, 12)
    x = network(z, told)
    torch.testing.assert_close(network(z[1:2], told[1:2]), x[1:2], atol=1e-5, rtol=0)
    assert (network(z.flip(0), told) - x).abs().amax((1, 2, 3)).min() > 1e-3
    assert (network(z, told.flip(0)) - x).abs().amax((1, 2, 3)).min() > 1e-3
    torch.testing.assert_close(network(z), network(z, torch.zeros(4, 12)))


def test_the_discriminators_logit_is_a_projection_on_what_is_told():
    torch.manual_seed(0)
    network = awake(Discriminator(Reader((1, 8, 8), (8, 16), features=16)))
    x, told = torch.randn(4, 1, 8, 8), torch.randn(4, 16)
    features = torch.nn.functional.leaky_relu(network.reader(x), 0.2)
    torch.testing.assert_close(network(x, told) - network(x), (features * told).sum(1) / 4)
    torch.testing.assert_close(network(x), features @ network.real.weight[0] + network.real.bias)


def test_the_encoder_is_told():
    torch.manual_seed(0)
    network = awake(Encoder(Reader((1, 8, 8), (8,), features=16), 3))
    x, told = torch.randn(4, 1, 8, 8), torch.randn(4, 16)
    mean, log_variance = network(x, told)
    assert mean.shape == log_variance.shape == (4, 3)
    both = network.out(torch.nn.functional.leaky_relu(network.reader(x) + told, 0.2))
    torch.testing.assert_close(torch.cat([mean, log_variance], 1), both)


def test_a_reader_can_be_differentiated_twice():
    torch.manual_seed(0)
    network = awake(Discriminator(Reader((1, 5, 7), (4, 4), features=4))).double()
    network.reader.stem.weight.data *= 3  # away from the kinks of the leaky ReLUs
    x = torch.randn(2, 1, 5, 7, dtype=torch.float64, requires_grad=True)

    def squared_slope(weight: torch.Tensor) -> torch.Tensor:
        made = {**dict(network.named_parameters()), "reader.stem.weight": weight}
        logits = torch.func.functional_call(network, made, (x,)).double()
        return torch.autograd.grad(logits.sum(), x, create_graph=True)[0].square().sum()

    weight = network.reader.stem.weight.detach().clone().requires_grad_()
    (exact,) = torch.autograd.grad(squared_slope(weight), weight)
    step = torch.zeros_like(weight)
    step[1, 2, 0, 1] = 1e-4
    after, before = (squared_slope(weight.detach() + sign * step).detach() for sign in (1, -1))
    between = float(after - before) / 2e-4
    # Logits are float32: their rounding is not in their gradient.
    assert between == pytest.approx(float(exact[1, 2, 0, 1]), rel=1e-3)
