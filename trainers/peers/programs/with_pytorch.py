"""The nets in PyTorch: eager, or under `torch.compile`; channels last."""

import shutil

import torch
import turns
from torch import nn


def conv(inputs, width, stride=1):
    return nn.Conv2d(inputs, width, 3, stride, padding=1)


def unit(width):
    """R: conv, ReLU, norm, twice."""
    return nn.Sequential(
        *(conv(width, width), nn.ReLU(), nn.BatchNorm2d(width)),
        *(conv(width, width), nn.ReLU(), nn.BatchNorm2d(width)),
    )


class Transition(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        self.skip = nn.Conv2d(inputs, width, 1, stride, bias=False)
        self.branch = nn.Sequential(
            *(conv(inputs, width, stride), nn.ReLU(), nn.BatchNorm2d(width)),
            *(conv(width, width), nn.ReLU()),
        )

    def forward(self, x):
        return self.skip(x) + self.branch(x)


# Steps of length 1: eps = K = N. Every stage of a step reads the step's own cell.


def euler(f, x):
    return x + f(x)


def rk4(f, x):
    k1 = f(x)
    k2 = f(x + k1 / 2)
    k3 = f(x + k2 / 2)
    k4 = f(x + k3)
    return x + (k1 + 2 * k2 + 2 * k3 + k4) / 6


class Step(nn.Module):
    def __init__(self, width, scheme):
        super().__init__()
        self.scheme = {"euler": euler, "rk4": rk4}[scheme]
        self.cell = unit(width)

    def forward(self, x):
        return self.scheme(self.cell, x)


def block(width, nodes, scheme):
    return nn.Sequential(*(Step(width, scheme) for _ in range(nodes)))


def continuous_net(nodes, scheme, block=block):
    inputs = turns.WIDTHS[0]
    first = nn.Conv2d(3, inputs, 3, padding=1, bias=False)
    layers = [nn.Sequential(first, nn.BatchNorm2d(inputs), nn.ReLU())]
    for i, width in enumerate(turns.WIDTHS):
        layers.append(Transition(inputs, width, 2 if i else 1))
        layers.append(block(width, nodes, scheme))
        inputs = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, turns.CLASSES)]
    return nn.Sequential(*layers)


def compile_net(net):
    """Compiles the whole net, which takes longer the more steps there are."""
    net.compile()


def compile_parts(net):
    """Compiles stem, transitions and steps, each kind of them once."""
    steps = [layer for layer in net.modules() if isinstance(layer, Step)]
    transitions = [layer for layer in net if isinstance(layer, Transition)]
    for part in (net[0], *transitions, *steps):
        part.compile()


COMPILED = {"net": compile_net, "parts": compile_parts}


def size(net):
    """Counts parameters and, by hooks, multiply-adds of convolutions and the head."""
    macs = 0

    def count(layer, _, output):
        nonlocal macs
        pixels = output[0, 0].numel() if output.ndim == 4 else 1
        macs += layer.weight.numel() * pixels

    kinds = nn.Conv2d, nn.Linear
    hooks = [
        layer.register_forward_hook(count)
        for layer in net.modules()
        if isinstance(layer, kinds)
    ]
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return {"parameters": sum(p.numel() for p in net.parameters()), "macs": macs}


def trainer(session, build):
    """Returns a function that makes a step of a net, compiled if the job says so.

    Args:
        session: As `turns.serve` gives it.
        build: Function without arguments that returns a net.
    """
    job, net = session.job, build()
    net = net.to(memory_format=torch.channels_last).train()
    if hasattr(job, "compiled"):
        if not any(map(shutil.which, ("g++", "clang++", "c++"))):
            session.refuse("torch.compile needs a C++ compiler, and finds none")
        COMPILED[job.compiled](net)
    images = torch.randn(job.batch, 3, 32, 32)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(turns.CLASSES, (job.batch,))
    loss_of = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(
        net.parameters(),
        turns.LEARNING_RATE,
        turns.MOMENTUM,
        weight_decay=turns.WEIGHT_DECAY,
    )
    a, b = torch.randn(2, turns.SIZE, turns.SIZE)
    session.answers["sgemm"] = lambda: turns.seconds(lambda: a @ b)
    session.answers["size"] = lambda: size(build())

    def step():
        optimizer.zero_grad()
        loss = loss_of(net(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def make(session):
    job = session.job
    return trainer(session, lambda: continuous_net(job.nodes, job.scheme))


if __name__ == "__main__":
    turns.serve(make)
