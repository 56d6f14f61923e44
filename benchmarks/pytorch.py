"""Train the network of speed.py in plain PyTorch, for comparison."""

import math

import torch
from common import median_seconds
from speed import FEATURES, HIDDEN, NUM_DATA, T
from torch import nn
from torch.nn import functional as F


def microseconds(batch: int, kind: str, steps: int) -> float:
    """Microseconds per training step; kind: `eager`, `compiled`, or `compiled_fused`."""
    torch.manual_seed(0)
    frequency = torch.exp(-math.log(1e4) * torch.arange(FEATURES // 2) / (FEATURES // 2 - 1))

    def features(x, scale):
        angle = x[:, None] * (scale * frequency)
        return torch.cat([angle.sin(), angle.cos()], -1)

    class Net(nn.Module):
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

    net = Net()
    forward = torch.compile(net) if kind.startswith("compiled") else net
    fused = {"fused": True} if kind.endswith("fused") else {}
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, **fused)
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, T), 0)
    data = torch.randn(NUM_DATA, 2)

    def run():
        for _ in range(steps):
            x_0, eps = data[torch.randint(NUM_DATA, (batch,))], torch.randn(batch, 2)
            t = torch.randint(T, (batch,))
            a = alpha_bar[t, None]
            loss = F.mse_loss(forward(a.sqrt() * x_0 + (1 - a).sqrt() * eps, t.float()), eps)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()

    return median_seconds(run) / steps * 1e6
