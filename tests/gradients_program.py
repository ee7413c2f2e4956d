"""Gradients in float64 on a backend: of steps in a loop, or computed again.

    KERAS_BACKEND=jax JAX_ENABLE_X64=1 python tests/gradients_program.py

Prints JSON: how far each is from the gradient of the unrolled net, as a part of it.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import keras  # noqa: E402
import numpy as np  # noqa: E402

from cnet_tf import ContinuousBlock, manifest  # noqa: E402

FORMS = {
    "loop": {"unroll": False},
    "again": {"unroll": True, "recompute": True},
    "again, loop": {"unroll": False, "recompute": True},
}


def gradient(net, weights, x, y):
    """Of all that learns, as the one update of SGD with a rate of one takes it."""
    net.set_weights(weights)

    def values():
        found = [keras.ops.convert_to_numpy(v) for v in net.trainable_variables]
        return np.concatenate([v.ravel() for v in found])

    before = values()
    net.compile(keras.optimizers.SGD(1.0), "mse")
    net.fit(x, y, batch_size=len(x), epochs=1, verbose=0)
    return before - values()


def nets():
    """Nets of a block alone.

    Some layers of Keras compute in float32 but on TensorFlow: Dense, tanh, pooling.
    """
    for basis in ("constant", "hat"):
        inputs = keras.Input((8, 8, 4))
        unit = keras.Sequential(
            [
                keras.layers.Conv2D(4, 3, padding="same"),
                keras.layers.BatchNormalization(),
                keras.layers.ReLU(),
            ]
        )
        block = ContinuousBlock(unit, nodes=2, basis=basis, scheme="rk4", steps=4)
        yield basis, keras.Model(inputs, block(inputs))


def main():
    keras.config.set_dtype_policy("float64")
    keras.utils.set_random_seed(0)
    x, y = np.random.default_rng(0).normal(size=(2, 16, 8, 8, 4))
    apart = {}
    for basis, net in nets():
        given = net.get_weights(), x, y
        expected = gradient(manifest(net, unroll=True), *given)
        for form, settings in FORMS.items():
            found = gradient(manifest(net, **settings), *given)
            error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
            apart[f"{basis}, {form}"] = float(error)
    print(json.dumps(apart))


if __name__ == "__main__":
    main()
