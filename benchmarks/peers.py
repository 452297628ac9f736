"""diffusers and denoising_diffusion_pytorch, in networks of unstir's widths and their own training steps."""

from __future__ import annotations

from abc import abstractmethod
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.contender import LEARNING_RATE, Contender, Mode
from benchmarks.workloads import Workload, synthetic
from unstir.models.precision import autocast, resolve_precision
from unstir.networks.config import UNetConfig

HEAD = 64
"""Channels of one attention head, as in unstir."""


class Peer(Contender):
    """What the peers' steps have in common."""

    def __init__(self, workload: Workload, mode: Mode) -> None:
        model, batch = workload.model, workload.config.training.batch
        assert isinstance(model.network, UNetConfig)
        self.workload, self.mode = workload, mode
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.precision = resolve_precision(mode.precision, self.device)
        self.layout = torch.channels_last if mode.channels_last else torch.contiguous_format
        data = synthetic(workload)
        chosen = np.arange(8 * batch) % len(data)
        images = data.examples(chosen)[0].to(self.device)
        self.batches = [part.contiguous(memory_format=self.layout) for part in images.split(batch)]
        self.taken = 0
        network = self.build(model.network, data.shape)
        self.network = network.to(self.device, memory_format=self.layout).train()
        self.optimizer = self.make_optimizer()

    @abstractmethod
    def build(self, network: UNetConfig, shape: tuple[int, int, int]) -> nn.Module:
        """Return the package's network of these widths."""

    @abstractmethod
    def make_optimizer(self) -> torch.optim.Optimizer:
        """Return the optimizer of the package's training code."""

    @abstractmethod
    def loss(self, x0: Tensor) -> Tensor:
        """Return the loss on images (B, C, H, W) in [-1, 1]."""

    @abstractmethod
    def update_average(self) -> None:
        """Move the weights' average."""

    def step(self) -> None:
        """Train on one batch."""
        x0 = self.batches[self.taken % len(self.batches)]
        self.taken += 1
        with autocast(self.precision, self.device):
            loss = self.loss(x0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.update_average()


class Diffusers(Peer):
    """``UNet2DModel`` in the configuration of google/ddpm-cifar10-32, but 64 channels a head as in unstir."""

    def __init__(self, workload: Workload, mode: Mode) -> None:
        from diffusers import DDIMScheduler, DDPMScheduler
        from diffusers.training_utils import EMAModel
        from diffusers.utils import logging

        logging.set_verbosity_error()
        super().__init__(workload, mode)
        self.schedule = DDPMScheduler(1000)
        self.ddim = DDIMScheduler(1000)
        self.average = EMAModel(self.network.parameters(), use_ema_warmup=True, power=0.75, foreach=mode.tuned)
        self.drawn: nn.Module | None = None

    def build(self, network: UNetConfig, shape: tuple[int, int, int]) -> nn.Module:
        """Return the network."""
        from diffusers import UNet2DModel

        attends = ["Attn" if kind == "full" else "" for kind in network.attention]
        return UNet2DModel(
            sample_size=shape[1],
            in_channels=shape[0],
            out_channels=shape[0],
            layers_per_block=network.blocks,
            block_out_channels=network.channels,
            down_block_types=tuple(f"{kind}DownBlock2D" for kind in attends),
            up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(attends)),
            attention_head_dim=min(HEAD, network.channels[-1]),
            norm_num_groups=min(32, network.channels[0]),
            dropout=network.dropout,
        )

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Return AdamW with the example's values."""
        options = {"fused": True} if self.mode.tuned else {}
        return torch.optim.AdamW(
            self.network.parameters(), lr=LEARNING_RATE, betas=(0.95, 0.999), weight_decay=1e-6, **options
        )

    def loss(self, x0: Tensor) -> Tensor:
        """Return the mean squared error on the noise."""
        eps = torch.randn_like(x0)
        times = torch.randint(0, 1000, (len(x0),), device=x0.device)
        predicted = self.network(self.schedule.add_noise(x0, eps, times), times).sample
        return functional.mse_loss(predicted.float(), eps)

    def update_average(self) -> None:
        """Move the average, each step."""
        self.average.step(self.network.parameters())

    @torch.no_grad()
    def sample(self) -> None:
        """Draw by the loop of the documentation, at its best with the network's weights in bfloat16."""
        if self.drawn is None:
            self.drawn = deepcopy(self.network).eval()
            if self.mode.tuned and self.precision == "bf16":
                self.drawn = self.drawn.to(torch.bfloat16)
            if self.mode.compiled:
                self.drawn.compile()
        dtype = next(self.drawn.parameters()).dtype
        x = torch.randn(self.workload.sample_batch, *self.batches[0].shape[1:], device=self.device)
        x = x.to(memory_format=self.layout)
        self.ddim.set_timesteps(self.workload.model.sampling.steps)
        for time in self.ddim.timesteps:
            predicted = self.drawn(x.to(dtype), time).sample
            x = self.ddim.step(predicted.to(x.dtype), time, x).prev_sample


class DdpmPytorch(Peer):
    """``Unet`` and ``GaussianDiffusion`` of denoising_diffusion_pytorch.

    Its constructor puts linear attention on every level without full attention. It is taken out, as the others
    have none there: what is left does less arithmetic at the same widths (a block less on each level's way up).
    """

    def __init__(self, workload: Workload, mode: Mode) -> None:
        from denoising_diffusion_pytorch import GaussianDiffusion
        from ema_pytorch import EMA

        super().__init__(workload, mode)
        self.average = EMA(self.network, beta=0.995, update_every=10, use_foreach=mode.tuned)
        self.diffusion = GaussianDiffusion(
            self.network,
            image_size=workload.model.samples.shape[1:],
            sampling_timesteps=workload.model.sampling.steps,
            auto_normalize=False,
        ).to(self.device)

    def build(self, network: UNetConfig, shape: tuple[int, int, int]) -> nn.Module:
        """Return the network."""
        from denoising_diffusion_pytorch import Unet
        from denoising_diffusion_pytorch.denoising_diffusion_pytorch import LinearAttention

        base = network.channels[0]
        unet = Unet(
            base,
            channels=shape[0],
            dim_mults=tuple(channels // base for channels in network.channels),
            full_attn=tuple(kind == "full" for kind in network.attention),
            attn_heads=tuple(max(1, channels // HEAD) for channels in network.channels),
            attn_dim_head=min(HEAD, network.channels[-1]),
            dropout=network.dropout,
            flash_attn=self.mode.tuned,
        )
        for level in [*unet.downs, *unet.ups]:
            if isinstance(level[2], LinearAttention):
                level[2] = _Nothing()
        return unet

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Return Adam with the Trainer's values."""
        options = {"fused": True} if self.mode.tuned else {}
        return torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), **options)

    def loss(self, x0: Tensor) -> Tensor:
        """Return the package's own loss."""
        return self.diffusion(x0)

    def update_average(self) -> None:
        """Move the average, every tenth step."""
        self.average.update()

    def sample(self) -> None:
        """Draw by the package's own DDIM."""
        self.network.eval()
        with autocast(self.precision, self.device):
            self.diffusion.sample(batch_size=self.workload.sample_batch)
        self.network.train()


class _Nothing(nn.Module):
    def forward(self, x: Tensor) -> float:
        return 0.0
