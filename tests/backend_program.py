"""Runs the library on a backend.

    KERAS_BACKEND=jax python tests/backend_program.py DIR

DIR has a net `reference/net` with images.npy and logits.npy, as TensorFlow has them.
Prints JSON: what tests/test_backends.py checks.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import keras  # noqa: E402
import numpy as np  # noqa: E402

from cnet_tf import (  # noqa: E402
    ContinuousBlock,
    checkpoint,
    continuous_net,
    manifest,
    project,
    recalibrate,
    refine,
)
from cnet_tf.manifestation import statistics  # noqa: E402
from cnet_tf.surgery import blocks_of  # noqa: E402

L = keras.layers
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


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
    return continuous_net("digits", widths=(4,), strides=(1,), nodes=2)


def logits(model, x):
    return model.predict(x, verbose=0)


def apart(model, x, expected) -> float:
    """How far logits are from others."""
    return float(np.abs(logits(model, x) - expected).max())


def moved(before, after) -> list[bool]:
    pairs = zip(before, after, strict=True)
    return [bool(np.any(np.asarray(a) != np.asarray(b))) for a, b in pairs]


def moved_without_state(model, x) -> list[bool]:
    """Which statistics a stateless training call gives another value."""
    values = [
        [keras.ops.convert_to_numpy(v) for v in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    _, after = model.stateless_call(*values, x, training=True)
    names = [v.name.startswith("moving_") for v in model.non_trainable_variables]
    after = [keras.ops.convert_to_numpy(v) for v in after]
    return [
        change
        for change, name in zip(moved(values[1], after), names, strict=True)
        if name
    ]


def facts(model, folder) -> dict:
    """Trains, changes, saves and loads a model."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 8, 8, 1)).astype("float32")
    y = (x.mean(axis=(1, 2, 3)) > 0).astype("int64")
    stateless = moved_without_state(model, x)
    before = statistics(model)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), LOSS)
    history = model.fit(x, y, batch_size=16, epochs=4, shuffle=False, verbose=0)
    trained = moved(before, statistics(model))
    found = logits(model, x)
    deep, optimizer = refine(model, steps_factor=1, optimizer=model.optimizer)
    deep.compile(optimizer, LOSS)
    same = apart(deep, x, found)
    deep.fit(x, y, batch_size=16, epochs=1, verbose=0)
    small, optimizer = project(deep, nodes=1, optimizer=optimizer)
    small.compile(optimizer, LOSS)
    small.fit(x, y, batch_size=16, epochs=1, verbose=0)
    cheap = manifest(deep, scheme="euler", steps=1)
    found = logits(deep, x)
    path = folder / f"{model.name}.keras"
    deep.save(path)
    checkpoint.save(deep, folder / model.name)
    return {
        "losses": history.history["loss"],
        "moved": trained,
        "moved_without_state": stateless,
        "refined_delta": same,
        "iterations": int(optimizer.iterations),
        "cheap_delta": apart(cheap, x, found),
        "small": sorted({block.nodes for block in blocks_of(small)}),
        "batches": recalibrate(cheap, [x[:32], x[32:]]),
        "keras_file_delta": apart(keras.models.load_model(path), x, found),
        "checkpoint_delta": apart(checkpoint.load(folder / model.name).net, x, found),
    }


def main(folder):
    keras.utils.set_random_seed(0)
    reference = checkpoint.load(folder / "reference").net
    print(
        json.dumps(
            {
                "backend": keras.backend.backend(),
                "reference_delta": apart(
                    reference,
                    np.load(folder / "images.npy"),
                    np.load(folder / "logits.npy"),
                ),
                "own": facts(own_model(), folder),
                "preset": facts(preset(), folder),
            }
        )
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
