"""A run directory as trainers/train.py leaves it, without the training."""

import dataclasses
import pathlib

import keras
import numpy as np
import tensorflow as tf
from absl import flags

import cnet_tf
from cnet_tf import checkpoint
from export import saved_model
from export.gate import Gate
from trainers import option_table

DIGITS = {
    "name": "digits",
    "image_shape": [8, 8, 1],
    "class_names": [str(digit) for digit in range(10)],
    "mean": [0.3052],
    "std": [0.376],
}

# Passes anything finite.
ANYTHING = Gate(1e9, 100.0, 100.0)

# As which exports are compared with Keras: other steps, another scheme.
MANIFESTATIONS = [("euler", 2), ("rk4", 1)]

# One block instead of the preset's three, where the net is not the point of a test.
SMALL = {"widths": (4,), "strides": (1,)}

# What a variable whose name ends so may be, so that nothing is neutral: a graph that
# forgets a norm, or takes its batch's moments instead, is far off.
_RANGES = {
    "moving_variance": (0.5, 2.0),
    "gamma": (0.5, 1.5),
    "moving_mean": (-0.5, 0.5),
    "beta": (-0.5, 0.5),
    "bias": (-0.5, 0.5),
}


def save_run(
    folder, preset="digits", data=DIGITS, shape=(8, 8, 1), **overrides
) -> pathlib.Path:
    """Saves an untrained net with random norms and biases as the run `folder`."""
    # Fixtures of a module come before the seeds that conftest.py sets for a test.
    keras.utils.set_random_seed(0)
    net = cnet_tf.continuous_net(preset, input_shape=shape, **overrides)
    random = np.random.default_rng(0)
    for variable in net.variables:
        if variable.name in _RANGES:
            low, high = _RANGES[variable.name]
            variable.assign(random.uniform(low, high, variable.shape))
    checkpoint.save(net, pathlib.Path(folder) / "net", {"data": data})
    return pathlib.Path(folder)


def parse(arguments, table=saved_model.Options) -> option_table.OptionTable:
    """The options that flags give, apart from the process's own."""
    values = flags.FlagValues()
    option_table.define_flags(table, values)
    values(["test", *arguments])
    return option_table.from_flags(table, values)


def export_version(run, data_dir, output, *more) -> pathlib.Path:
    """A SavedModel of three signatures, compared with Keras on a few images."""
    arguments = [f"--run={run}", f"--data_dir={data_dir}", f"--output={output}"]
    several = "--manifestations=euler:2,midpoint:4"
    few = ["--parity_images=8", "--accuracy_images=8"]
    return saved_model.main(parse([*arguments, several, *few, *more]))


def ungated(form):
    """A format whose gates let everything finite pass."""
    loose = {
        name: dataclasses.replace(precision, gate=ANYTHING)
        for name, precision in form.precisions.items()
    }
    return dataclasses.replace(form, precisions=loose)


def stand_in(*_):
    """An export that was read back: no logit of it is right."""

    def call(image):
        return {"logits": np.full((len(image), 10), 1e6), "label": np.zeros(len(image))}

    return {"serving_default": call}


def copy_of_keras(run, scheme, steps) -> keras.Model:
    """The net of a run, read again, as that manifestation."""
    return cnet_tf.manifest(checkpoint.load(run / "net").net, scheme, steps)


def pixels(count, shape=(8, 8, 1)) -> np.ndarray:
    """Random images, uint8."""
    shape = (count, *shape)
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def files(folder) -> list[str]:
    """Everything below a folder."""
    return sorted(str(path) for path in folder.rglob("*"))


def saved_variables(folder) -> list[tuple]:
    """All numbers of a SavedModel."""
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    names = reader.get_variable_to_shape_map()
    values = [reader.get_tensor(n) for n in names if n.endswith("VARIABLE_VALUE")]
    return sorted((value.shape, value.tobytes()) for value in values)
