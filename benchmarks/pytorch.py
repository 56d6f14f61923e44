"""Plain PyTorch for comparison: the speed of a step, and a training as in tiny-diffusion."""

import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from common import median_seconds
from speed import FEATURES, HIDDEN, NUM_DATA, T
from torch import nn
from torch.nn import functional as F

BATCH, RATE = 32, 1e-3


def features(x: torch.Tensor, scale: float) -> torch.Tensor:
    """[sin(scale w_i x), cos(scale w_i x)] f32[n, FEATURES], w_i from 1 to 1e-4."""
    frequency = torch.exp(-math.log(1e4) * torch.arange(FEATURES // 2) / (FEATURES // 2 - 1))
    angle = x[:, None] * (scale * frequency)
    return torch.cat([angle.sin(), angle.cos()], -1)


class Net(nn.Module):
    """The network of `speed.experiment`: eps f32[n, 2] of points x f32[n, 2] at levels t f32[n]."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3 * FEATURES, HIDDEN)
        self.blocks = nn.ModuleList(nn.Linear(HIDDEN, HIDDEN) for _ in range(3))
        self.last = nn.Linear(HIDDEN, 2)

    def forward(self, x, t):
        h = torch.cat([features(x[:, 0], 25.0), features(x[:, 1], 25.0), features(t, 1.0)], -1)
        h = F.gelu(self.first(h), approximate="tanh")
        for block in self.blocks:
            h = h + F.gelu(block(h), approximate="tanh")
        return self.last(h)

    def flax_params(self) -> dict:
        """Return the weights as parameters of `fourier_mlp`."""
        dense = lambda layer: {"kernel": layer.weight.detach().numpy().T.copy(),
                               "bias": layer.bias.detach().numpy().copy()}  # fmt: skip
        layers = {f"blocks_{i}": dense(block) for i, block in enumerate(self.blocks)}
        layers |= {"from_features": dense(self.first), "to_output": dense(self.last)}
        return {"params": {"trunk": layers}}


def alpha_bar() -> torch.Tensor:
    """Signal power f32[T] of the levels 1 ... T."""
    return torch.cumprod(1 - torch.linspace(1e-4, 0.02, T), 0)


def train(points: np.ndarray, epochs: Sequence[int]) -> Iterator[tuple[int, float, float, dict]]:
    """Train on `points` f32[n, 2]; yield (epoch, wall, CPU seconds, weights) after some epochs.

    AdamW with a constant rate, batches of 32 points, gradients clipped to 1, no average of the
    weights. The seconds leave out the time between two results. One thread is enough for the small
    products of 32 points.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net, data, power = Net(), torch.from_numpy(points), alpha_bar()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    wall = cpu = 0.0
    for epoch in range(1, max(epochs) + 1):
        began = time.perf_counter(), time.process_time()
        for index in torch.randperm(len(data)).split(BATCH):
            x_0, eps = data[index], torch.randn(len(index), 2)
            t = torch.randint(1, T + 1, (len(index),))
            a = power[t - 1, None]
            loss = F.mse_loss(net(a.sqrt() * x_0 + (1 - a).sqrt() * eps, t.float()), eps)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        wall += time.perf_counter() - began[0]
        cpu += time.process_time() - began[1]
        if epoch in epochs:
            yield epoch, wall, cpu, net.flax_params()


def microseconds(batch: int, kind: str, steps: int) -> float:
    """Microseconds per training step; kind: `eager`, `compiled`, or `compiled_fused`."""
    torch.manual_seed(0)
    net = Net()
    forward = torch.compile(net) if kind.startswith("compiled") else net
    fused = {"fused": True} if kind.endswith("fused") else {}
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, **fused)
    power, data = alpha_bar(), torch.randn(NUM_DATA, 2)

    def run():
        for _ in range(steps):
            x_0, eps = data[torch.randint(NUM_DATA, (batch,))], torch.randn(batch, 2)
            t = torch.randint(T, (batch,))
            a = power[t, None]
            loss = F.mse_loss(forward(a.sqrt() * x_0 + (1 - a).sqrt() * eps, t.float()), eps)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()

    return median_seconds(run) / steps * 1e6
