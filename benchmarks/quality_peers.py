"""The peers on MNIST, trained as their own documentation does.

diffusers: the network, optimizer and schedule of its course's unit on MNIST by label, whose embedding is here the
network's own, plus the weights' average of its example for unconditional images. denoising_diffusion_pytorch: the
network and the Trainer values of its README, on digits padded to 32 pixels (its network halves the image three
times) and never mirrored. Both train under bfloat16 autocast where there is any, channels last, with a fused
optimizer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unstir.data.dataset import ImageData
from unstir.data.order import order
from unstir.training.precision import autocast, resolve_precision


class MnistPeer(ABC):
    """A peer that trains on 28x28 digits and draws them.

    Attributes:
        images: How many images it has been trained on.
        batch: Images in a batch.
    """

    batch: int

    def __init__(self, data: ImageData) -> None:
        self.data, self.images = data, 0
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.precision = resolve_precision("auto", self.device)

    @abstractmethod
    def step(self) -> None:
        """Take one step of the optimizer."""

    @abstractmethod
    def sample(self, count: int, steps: int) -> tuple[Tensor, Tensor | None]:
        """Draw ``count`` digits (count, 1, 28, 28) in [-1, 1] by DDIM, and the labels asked for, if any."""

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Return the next images (B, 1, 28, 28) in [-1, 1], and their labels (B,)."""
        indices = order(len(self.data), 0, self.images, self.batch)
        self.images += self.batch
        x0, labels = self.data.batch(indices)
        assert labels is not None
        return x0.to(self.device), labels.to(self.device)


class DiffusersMnist(MnistPeer):
    """``UNet2DModel`` (32, 64, 64) by label, Adam at 1e-3, batch 128, cosine schedule, noise prediction."""

    batch = 128

    def __init__(self, data: ImageData) -> None:
        from diffusers import DDPMScheduler, UNet2DModel
        from diffusers.training_utils import EMAModel

        super().__init__(data)
        self.network = UNet2DModel(
            sample_size=28,
            in_channels=1,
            out_channels=1,
            layers_per_block=2,
            block_out_channels=(32, 64, 64),
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
            num_class_embeds=data.num_classes,
        ).to(self.device, memory_format=torch.channels_last)
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
    def sample(self, count: int, steps: int) -> tuple[Tensor, Tensor | None]:
        """Draw from the average, the classes in turn."""
        from diffusers import DDIMScheduler

        self.average.store(self.network.parameters())
        self.average.copy_to(self.network.parameters())
        schedule = DDIMScheduler(1000, beta_schedule="squaredcos_cap_v2", timestep_spacing="trailing")
        schedule.set_timesteps(steps)
        labels = torch.arange(count, device=self.device) % self.data.num_classes
        drawn = []
        for part in labels.split(250):
            x = torch.randn(len(part), 1, 28, 28, device=self.device)
            for time in schedule.timesteps:
                with autocast(self.precision, self.device):
                    predicted = self.network(x, time, part).sample
                x = schedule.step(predicted.float(), time, x).prev_sample
            drawn.append(x)
        self.average.restore(self.network.parameters())
        return torch.cat(drawn).cpu(), labels.cpu()


class DdpmPytorchMnist(MnistPeer):
    """``Unet(64, dim_mults=(1, 2, 4, 8))``, Adam at 8e-5, two batches of 32 a step, average 0.995 every tenth."""

    batch = 32

    def __init__(self, data: ImageData) -> None:
        from denoising_diffusion_pytorch import GaussianDiffusion, Unet
        from ema_pytorch import EMA

        super().__init__(data)
        network = Unet(64, dim_mults=(1, 2, 4, 8), channels=1, flash_attn=True)
        self.diffusion = GaussianDiffusion(network, image_size=32, timesteps=1000, auto_normalize=False)
        self.diffusion.to(self.device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.diffusion.parameters(), lr=8e-5, betas=(0.9, 0.99), fused=True)
        self.average = EMA(self.diffusion, beta=0.995, update_every=10, use_foreach=True)

    def step(self) -> None:
        """Take one step of the optimizer, on two batches."""
        for _ in range(2):
            x0 = functional.pad(self.next_batch()[0], (2, 2, 2, 2), value=-1.0)
            with autocast(self.precision, self.device):
                loss = self.diffusion(x0.contiguous(memory_format=torch.channels_last))
            (loss / 2).backward()
        torch.nn.utils.clip_grad_norm_(self.diffusion.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update()

    def sample(self, count: int, steps: int) -> tuple[Tensor, Tensor | None]:
        """Draw from the average; this network takes no label."""
        diffusion = self.average.ema_model
        diffusion.sampling_timesteps, diffusion.is_ddim_sampling = steps, True
        drawn = []
        for size in np.diff([*range(0, count, 250), count]):
            with autocast(self.precision, self.device):
                drawn.append(diffusion.sample(batch_size=int(size)))
        return torch.cat(drawn).cpu()[..., 2:30, 2:30].float(), None


MNIST_PEERS: dict[str, type[MnistPeer]] = {"diffusers": DiffusersMnist, "ddpm-pytorch": DdpmPytorchMnist}
