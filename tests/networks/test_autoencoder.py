from __future__ import annotations

import pytest
import torch
from torch import nn

from unstir.networks.autoencoder import Block
from unstir.networks.autoencoder_config import AutoencoderConfig


def halves(config: AutoencoderConfig) -> tuple[nn.Module, nn.Module]:
    """An encoder and a decoder whose every layer has weights."""
    torch.manual_seed(0)
    made = config.encoder(3, config.latent), config.decoder(3)
    for half in made:
        for parameter in half.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
    return made


@pytest.mark.parametrize(("channels", "patch", "factor"), [((16, 32), 2, 4), ((16,), 8, 8), ((16, 16, 16), 4, 16)])
@pytest.mark.parametrize("size", [(32, 32), (33, 50), (5, 7)])
def test_codes_are_f_times_smaller_rounded_up(
    channels: tuple[int, ...], patch: int, factor: int, size: tuple[int, int]
) -> None:
    config = AutoencoderConfig(channels=channels, patch=patch, latent=5)
    assert config.factor == factor
    encoder, decoder = halves(config)
    codes = encoder(torch.randn(2, 3, *size))
    places = tuple(-(-side // factor) for side in size)
    assert codes.shape == (2, 5, *places)
    made = decoder(codes)
    assert made.shape == (2, 3, places[0] * factor, places[1] * factor)
    assert made[0].std() > 0.01 and not torch.allclose(made[0], made[1])


def test_an_odd_size_is_read_as_its_padding() -> None:
    encoder, _ = halves(AutoencoderConfig(channels=(16, 32)))
    x = torch.randn(1, 3, 10, 11)
    padded = torch.cat([x, x[..., -1:, :].expand(-1, -1, 2, -1)], 2)
    padded = torch.cat([padded, padded[..., -1:]], 3)
    torch.testing.assert_close(encoder(x), encoder(padded))


def test_without_attention_a_code_reaches_no_farther_than_its_neighbours() -> None:
    """Of the decoder: 6 convolutions on the coarse level, then 5 on the one twice as fine."""
    config = AutoencoderConfig(channels=(16, 16), attention=False)
    _, decoder = halves(config)
    codes = torch.zeros(1, 4, 40, 40)
    other = codes.clone()
    other[0, :, 20, 20] = 3.0
    changed = ((decoder(codes) - decoder(other)).abs().amax((0, 1, 3)) > 1e-4).nonzero()
    reach = 4 * (1 + 4 + 4) + 2 * (1 + 4 + 1)
    assert 4 * 20 - reach <= int(changed.min()) < 4 * 20 - 12
    attending = halves(AutoencoderConfig(channels=(16, 16)))[1]
    assert (attending(codes) - attending(other)).abs().amax((0, 1, 3)).min() > 1e-4


def test_a_block_starts_as_its_shortcut() -> None:
    x = torch.randn(2, 16, 5, 5)
    assert torch.equal(Block(16, 16, "layer")(x), x)
    wider = Block(16, 32, "group")
    torch.testing.assert_close(wider(x), wider.shortcut(x))


def test_the_large_ones_are_about_as_large_as_the_papers() -> None:
    """55 and 84 million parameters, the paper's of f = 4 and 8."""
    for channels, latent, published in (((128, 256, 512), 3, 55.3e6), ((128, 256, 512, 512), 4, 83.7e6)):
        config = AutoencoderConfig(channels=channels, blocks=2, patch=1, latent=latent, norm="group")
        with torch.device("meta"):
            halves = config.encoder(3, 2 * latent), config.decoder(3)
        count = sum(parameter.numel() for half in halves for parameter in half.parameters())
        assert count == pytest.approx(published, rel=0.06)
