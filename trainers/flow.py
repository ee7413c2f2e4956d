"""Draws the flow by which a continuous block separates two classes in the plane.

    python trainers/flow.py

A flow of the plane can separate moons but not circles: it never lets a point out of a
ring. Circles get a third dimension to go around it (Dupont, Doucet, Teh 2019, arXiv
1904.01681). Writes flow.png to --output: states at t = 0, 1/2 and 1 of a net of one
block with a linear head, along the head's normal and across it, and the paths to them.
"""

import dataclasses
import pathlib
import sys

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    # Before anything else imports TensorFlow.
    from trainers import quick_start

    quick_start.import_keras()

import keras
import numpy as np
from sklearn.datasets import make_circles, make_moons

from cnet_tf import ContinuousBlock
from cnet_tf.escaping import line as shown
from cnet_tf.trajectory import states
from trainers import disk, results
from trainers.option_kinds import integer, text
from trainers.option_table import OptionTable, option, run

_POINTS, _PATHS = 500, 60


@dataclasses.dataclass(frozen=True)
class Plane:
    """A problem of two classes: `make(points, seed)` and the dimension of the state."""

    make: object
    dimension: int


PLANES = {
    "moons": Plane(
        lambda n, seed: make_moons(n, noise=0.08, random_state=seed), dimension=2
    ),
    "circles": Plane(
        lambda n, seed: make_circles(n, noise=0.05, factor=0.5, random_state=seed),
        dimension=3,
    ),
}


@dataclasses.dataclass(frozen=True)
class Options(OptionTable):
    """The flags of the picture."""

    epochs: int = option(100, integer(1), "Epochs of each training")
    seed: int = option(0, integer(0), "Seed of points and weights")
    output: str = option("flow", text(), "Folder for the picture")


def trained(plane, epochs, seed):
    """Returns (net, points, labels): a block of a perceptron, with a linear head."""
    keras.utils.set_random_seed(seed)
    points, labels = plane.make(_POINTS, seed)
    layers = keras.layers
    unit = keras.Sequential([layers.Dense(16, "tanh"), layers.Dense(plane.dimension)])
    net = keras.Sequential(
        [
            keras.Input((2,)),
            # Embeds the plane in the state space: further coordinates are zero.
            layers.Dense(
                plane.dimension,
                use_bias=False,
                kernel_initializer="identity",
                trainable=False,
            ),
            ContinuousBlock(unit, nodes=2, scheme="rk4", steps=16, name="flow"),
            layers.Dense(1),
        ]
    )
    net.compile(
        keras.optimizers.Adam(0.02),
        keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    net.fit(points, labels, batch_size=50, epochs=epochs, verbose=0)
    return net, points, labels


def along(net, points) -> np.ndarray:
    """Returns the states, (17, points, 2): along the head's normal and across it."""
    stem, flow, head = net.layers
    path = np.stack([np.asarray(state) for state in states(flow, stem(points))])
    kernel, bias = head.get_weights()
    normal = kernel[:, 0] / np.linalg.norm(kernel)
    # Across: the direction orthogonal to the normal in which the last states spread
    # most.
    rest = path[-1] - np.outer(path[-1] @ normal, normal)
    across = np.linalg.svd(rest - rest.mean(axis=0))[2][0]
    distance = path @ normal + bias / np.linalg.norm(kernel)
    return np.stack([distance, path @ across], axis=-1)


def main(options):
    """Trains, draws and writes."""
    workspace = disk.Workspace(pathlib.Path(options.output))
    with workspace:
        rows = {}
        for name, plane in PLANES.items():
            net, points, labels = trained(plane, options.epochs, options.seed)
            rows[name] = along(net, points), labels
            accuracy = net.evaluate(points, labels, verbose=0)[1]
            print(f"{name}: {100 * accuracy:.1f} % of its points are separated")
        workspace.publish({"flow.png": picture(rows)})
    print(f"Written to {shown(workspace.parent)}: flow.png")


def picture(rows) -> bytes:
    """Draws a PNG: a row for each problem's (states, labels); columns are depths."""
    figure = results.figure(9.6, 3.2 * len(rows))
    grid = figure.subplots(len(rows), 3, sharex="row", sharey="row", squeeze=False)
    for panels, (name, (path, labels)) in zip(grid, rows.items(), strict=True):
        last = len(path) - 1
        for axes, n in zip(panels, (0, last // 2, last), strict=True):
            for line in path[: n + 1, :_PATHS].swapaxes(0, 1):
                axes.plot(*line.T, color="grey", linewidth=0.5, alpha=0.5)
            axes.scatter(*path[n].T, c=labels, cmap="coolwarm", s=6)
            axes.axvline(0, color="black", linewidth=0.8)
            axes.set_title(f"{name}, t = {n / last:g}")
    for axes in grid[-1]:
        axes.set_xlabel("along the normal of the head")
    return results.png_of(figure)


if __name__ == "__main__":
    run(main, Options)
