"""The nets in PyTorch, with blocks that torchdiffeq integrates on fixed grids.

Its "rk4" is the 3/8 rule, which costs the same.
"""

import torch
import turns
from torch import nn
from torchdiffeq import odeint
from with_pytorch import continuous_net, trainer, unit


class Block(nn.Module):
    """dx/dt = eps R(theta(t), x) on [0, 1] with eps = K, in N = K steps."""

    def __init__(self, width, nodes, scheme):
        super().__init__()
        self.scheme = scheme
        self.cells = nn.ModuleList(unit(width) for _ in range(nodes))
        self.register_buffer("span", torch.tensor([0.0, 1.0]))

    def rate(self, t, x):
        nodes = len(self.cells)
        return nodes * self.cells[int(nodes * t)](x)

    def forward(self, x):
        # `perturb` moves the ends of a step inside it, so that they read its own cell.
        options = {"step_size": 1 / len(self.cells), "perturb": True}
        return odeint(self.rate, x, self.span, method=self.scheme, options=options)[-1]


def make(session):
    job = session.job
    return trainer(session, lambda: continuous_net(job.nodes, job.scheme, Block))


if __name__ == "__main__":
    turns.serve(make)
