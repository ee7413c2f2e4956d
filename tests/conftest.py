"""What every test shares: two logical CPU devices, seeds, and where data lies."""

import dataclasses
import os
import pathlib

# Both are read when TensorFlow and Keras are imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras  # noqa: E402
import pytest  # noqa: E402
import tensorflow as tf  # noqa: E402

# Two devices on one CPU, so that distribution is tested without a GPU. This must
# come before anything initialises TensorFlow's runtime.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration(), tf.config.LogicalDeviceConfiguration()],
)

_SHARED = pathlib.Path(__file__).parents[2] / "shared"
_SHARED_TFDS = _SHARED / "tfds"


@pytest.fixture(autouse=True)
def _seeds():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def cifar_dir() -> str:
    """A TFDS folder in which CIFAR-10 is prepared; skips where there is none."""
    folders = [os.environ.get("TFDS_DATA_DIR"), str(_SHARED_TFDS)]
    for folder in filter(None, folders):
        if list(pathlib.Path(folder).glob("cifar10/*/dataset_info.json")):
            return folder
    pytest.skip(f"CIFAR-10 is prepared neither in TFDS_DATA_DIR nor in {_SHARED_TFDS}")


@pytest.fixture(scope="session")
def golden_dir() -> pathlib.Path:
    """The folder of the published nets' numbers; skips where there is none."""
    folder = _SHARED / "golden"
    if not list(folder.glob("*.npz")):
        pytest.skip(f"The published nets' numbers are not in {folder}")
    return folder


@pytest.fixture(scope="session")
def digits_dir(tmp_path_factory) -> str:
    """A TFDS folder in which the shipped digits are prepared."""
    from trainers import data

    folder = str(tmp_path_factory.mktemp("tfds"))
    data.load("digits", folder)
    return folder


@pytest.fixture(scope="module")
def short_run(digits_dir, tmp_path_factory):
    """Options of a short training of one narrow block, with changes."""
    from cnet_tf.presets import PRESETS
    from trainers.options import Options

    def options(**changes):
        base = Options(
            data_dir=digits_dir,
            preset="one_block",
            epochs=2,
            batches_per_epoch=4,
            batch_size=32,
            learning_rate=0.05,
            runs_dir=str(tmp_path_factory.mktemp("runs")),
            tensorboard=False,
            verbose=0,
        )
        return dataclasses.replace(base, **changes)

    narrow = {"widths": (4,), "strides": (1,), "scheme": "euler"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "one_block", {**PRESETS["digits"], **narrow})
        narrow |= {"widths": (4, 4), "strides": (1, 1)}
        patch.setitem(PRESETS, "two_blocks", {**PRESETS["digits"], **narrow})
        yield options


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run directories of untrained nets: the digits preset and a smaller one."""
    from trained_run import SMALL, save_run

    folder = tmp_path_factory.mktemp("runs")
    return {
        "digits": save_run(folder / "digits-1"),
        "small": save_run(folder / "small-1", **SMALL),
    }


@pytest.fixture
def export_flags(runs, digits_dir, tmp_path):
    """Options of a script for an export of the small run to an empty folder."""
    from trained_run import parse

    def of(table):
        def build(*arguments):
            output = f"--output={tmp_path / 'out'}"
            shared = [f"--run={runs['small']}", f"--data_dir={digits_dir}", output]
            return parse([*shared, "--parity_images=20", *arguments], table)

        return build

    return of


@pytest.fixture(scope="module")
def digits(digits_dir):
    """The shipped digits, a tenth of the train split held out."""
    from trainers import data

    return data.load("digits", digits_dir)
