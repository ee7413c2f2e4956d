"""Runs the library on JAX, in a process of its own: `python tests/jax_program.py DIR`.

Prints JSON: what tests/test_jax.py checks.
"""

import json
import os
import sys

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np

from cnet_tf import (
    ContinuousBlock,
    continuous_net,
    manifest,
    project,
    recalibrate,
    refine,
)
from cnet_tf.manifestation import statistics

L = keras.layers


def own_model():
    """A functional model with a block around convolutions, norms and dropout."""
    unit = keras.Sequential(
        [
            L.Conv2D(4, 3, padding="same"),
            L.BatchNormalization(),
            L.ReLU(),
            L.Dropout(0.1),
            L.DepthwiseConv2D(3, padding="same"),
        ]
    )
    x = inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(4, 3)(x)
    x = ContinuousBlock(unit, nodes=2, scheme="midpoint", name="block")(x)
    return keras.Model(inputs, L.Dense(10)(L.GlobalAveragePooling2D()(x)))


def preset():
    net = continuous_net("digits", widths=(4,), strides=(1,), nodes=2)
    return net


def facts(model, folder) -> dict:
    """Trains, changes, saves and loads a model."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 8, 8, 1)).astype("float32")
    y = (x.mean(axis=(1, 2, 3)) > 0).astype("int64")
    before = statistics(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss)
    history = model.fit(x, y, batch_size=16, epochs=4, shuffle=False, verbose=0)
    moved = [
        bool(np.any(a != b)) for a, b in zip(before, statistics(model), strict=True)
    ]
    logits = model.predict(x, verbose=0)
    deep, optimizer = refine(model, steps_factor=1, optimizer=model.optimizer)
    deep.compile(optimizer, loss)
    same = float(np.abs(deep.predict(x, verbose=0) - logits).max())
    deep.fit(x, y, batch_size=16, epochs=1, verbose=0)
    small = project(deep, nodes=1)
    cheap = manifest(deep, scheme="euler", steps=1)
    path = f"{folder}/{model.name}.keras"
    deep.save(path)
    loaded = keras.models.load_model(path).predict(x, verbose=0)
    difference = float(np.abs(loaded - deep.predict(x, verbose=0)).max())
    return {
        "backend": keras.backend.backend(),
        "losses": history.history["loss"],
        "moved": moved,
        "refined_delta": same,
        "iterations": int(optimizer.iterations),
        "cheap_is_other": bool(np.any(cheap.predict(x, verbose=0) != logits)),
        "small": [int(v.shape[0]) for v in small.variables[:1]],
        "batches": recalibrate(cheap, [x[:32], x[32:]]),
        "loaded_delta": difference,
    }


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    print(json.dumps([facts(make(), sys.argv[1]) for make in (own_model, preset)]))
