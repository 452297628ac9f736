"""The peers on MNIST, each as its own documentation trains it, but with values for minutes where its are for days.

diffusers: the network, optimizer and cosine schedule of its course's unit on MNIST by label, whose embedding is
here the network's own, and the weights' average of its example for unconditional images. It is told the labels, as
unstir is, but has no guidance. Its batch is 64 and not 128, for more steps.

denoising_diffusion_pytorch: the network and diffusion of its README, without the fourth level, as 28 pixels can be
halved but twice; it takes no label. Its learning rate is 3e-4 and not 8e-5; it steps after each batch of 32 and
not after each second one; its average moves at each step and not at each tenth, as in a run of some hundred steps
it would else hold much of the first weights.

Both train at a constant rate, with a fused optimizer, in the fastest of four ways: under bfloat16 autocast or in
float32, with channels last or first.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unstir.data.dataset import ImageData
from unstir.data.order import order
from unstir.models.precision import autocast
from unstir.models.samples import Samples

DRAWN_TOGETHER = 50
"""On a CPU twice as fast as 250."""


class MnistPeer(ABC):
    """A peer that trains on 28x28 digits and draws them.

    Args:
        data: The digits.
        precision: ``bf16`` or ``float32``.
        layout: The memory layout of its convolutions.

    Attributes:
        images: How many images it has been trained on.
        seconds: How long that took.
        batch: Images in a batch.
    """

    batch: int

    def __init__(self, data: ImageData, precision: str, layout: torch.memory_format) -> None:
        self.data, self.precision, self.layout = data, precision, layout
        self.images, self.seconds = 0, 0.0
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(0)

    @abstractmethod
    def step(self) -> None:
        """Take one step of the optimizer."""

    @abstractmethod
    def sample(self, count: int, steps: int) -> Samples:
        """Draw ``count`` digits (count, 1, 28, 28) in [-1, 1] by DDIM, with the labels asked for, if any."""

    def train(self, seconds: float) -> None:
        """Go on until the clock, which runs only in here, shows ``seconds``."""
        began = time.monotonic() - self.seconds
        while time.monotonic() - began < seconds:
            self.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds = time.monotonic() - began

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Return the next images (B, 1, 28, 28) in [-1, 1], and their labels (B,)."""
        indices = order(len(self.data), 0, self.images, self.batch)
        self.images += self.batch
        x0, told = self.data.examples(indices)
        labels = told["label"]
        assert isinstance(labels, Tensor)
        return x0.to(self.device, memory_format=self.layout), labels.to(self.device)


class DiffusersMnist(MnistPeer):
    """``UNet2DModel`` (32, 64, 64) by label, Adam at 1e-3, batch 64, cosine schedule, noise prediction."""

    batch = 64

    def __init__(self, data: ImageData, precision: str, layout: torch.memory_format) -> None:
        from diffusers import DDPMScheduler, UNet2DModel
        from diffusers.training_utils import EMAModel

        super().__init__(data, precision, layout)
        self.network = UNet2DModel(
            sample_size=28,
            in_channels=1,
            out_channels=1,
            layers_per_block=2,
            block_out_channels=(32, 64, 64),
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
            num_class_embeds=data.num_classes,
        ).to(self.device, memory_format=layout)
        self.schedule = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3, fused=True)
        self.average = EMAModel(self.network.parameters(), use_ema_warmup=True, power=0.75, foreach=True)

    def step(self) -> None:
        """Take one step of the optimizer."""
        x0, labels = self.next_batch()
        eps = torch.randn_like(x0)
        times = torch.randint(0, 1000, (len(x0),), device=self.device)
        with autocast(self.precision, self.device):
            predicted = self.network(self.schedule.add_noise(x0, eps, times), times, labels).sample
        functional.mse_loss(predicted.float(), eps).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.step(self.network.parameters())

    @torch.no_grad()
    def sample(self, count: int, steps: int) -> Samples:
        """Draw from the average, the classes in turn."""
        from diffusers import DDIMScheduler

        self.average.store(self.network.parameters())
        self.average.copy_to(self.network.parameters())
        schedule = DDIMScheduler(1000, beta_schedule="squaredcos_cap_v2")
        schedule.set_timesteps(steps)
        labels = torch.arange(count, device=self.device) % self.data.num_classes
        drawn = []
        for part in labels.split(DRAWN_TOGETHER):
            x = torch.randn(len(part), 1, 28, 28, device=self.device)
            for time_ in schedule.timesteps:
                with autocast(self.precision, self.device):
                    predicted = self.network(x, time_, part).sample
                x = schedule.step(predicted.float(), time_, x).prev_sample
            drawn.append(x)
        self.average.restore(self.network.parameters())
        return Samples(torch.cat(drawn).cpu(), labels.cpu())


class DdpmPytorchMnist(MnistPeer):
    """``Unet(64, dim_mults=(1, 2, 4))``, v prediction, Adam at 3e-4, batch 32, average 0.995."""

    batch = 32

    def __init__(self, data: ImageData, precision: str, layout: torch.memory_format) -> None:
        from denoising_diffusion_pytorch import GaussianDiffusion, Unet
        from ema_pytorch import EMA

        super().__init__(data, precision, layout)
        network = Unet(64, dim_mults=(1, 2, 4), channels=1, flash_attn=True)
        self.diffusion = GaussianDiffusion(network, image_size=28, timesteps=1000, auto_normalize=False)
        self.diffusion.to(self.device, memory_format=layout)
        self.optimizer = torch.optim.Adam(self.diffusion.parameters(), lr=3e-4, betas=(0.9, 0.99), fused=True)
        self.average = EMA(self.diffusion, beta=0.995, update_every=1, use_foreach=True)

    def step(self) -> None:
        """Take one step of the optimizer."""
        with autocast(self.precision, self.device):
            loss = self.diffusion(self.next_batch()[0])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.diffusion.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update()

    def sample(self, count: int, steps: int) -> Samples:
        """Draw from the average; this network takes no label."""
        diffusion = self.average.ema_model
        diffusion.sampling_timesteps, diffusion.is_ddim_sampling = steps, True
        drawn = []
        for size in np.diff([*range(0, count, DRAWN_TOGETHER), count]):
            with autocast(self.precision, self.device):
                drawn.append(diffusion.sample(batch_size=int(size)))
        return Samples(torch.cat(drawn).cpu().float())


MNIST_PEERS: dict[str, type[MnistPeer]] = {"diffusers": DiffusersMnist, "ddpm-pytorch": DdpmPytorchMnist}


def mnist_peer(name: str, data: ImageData) -> MnistPeer:
    """Return a peer, yet untrained, in the way that it is fastest in: each is tried for two seconds."""
    speeds = {}
    for way in product(("bf16", "float32"), (torch.channels_last, torch.contiguous_format)):
        trial = MNIST_PEERS[name](data, *way)
        trial.step()  # the first is slow
        trial.train(2.0)
        speeds[way] = (trial.images - trial.batch) / trial.seconds
    return MNIST_PEERS[name](data, *max(speeds, key=lambda way: speeds[way]))
