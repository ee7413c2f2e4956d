"""Files that TensorFlow Serving reads beside a SavedModel, and its command line.

<serving>/models.config        the models, by name
<serving>/batching.config      how requests are batched
<serving>/<model>/<version>/   SavedModels
"""

import pathlib

import numpy as np
import tensorflow as tf
from google.protobuf import text_format

from cnet_tf import escaping
from cnet_tf.atomic_file import write_bytes

# Where the container sees the folder.
_MOUNT = "/models"

# Requests of a signature wait up to 2 ms to form a batch of at most 32; two batches run
# at a time. Larger requests, up to 1024 images, are split. The server rejects what
# exceeds 64 queued batches, so that overload shows at once instead of as late answers.
# Batches are padded to one of four sizes, as the runtime prepares a graph for every
# size it meets; the last has to be that of an execution (its batching_session.cc).
_BATCHING = """\
max_batch_size { value: 1024 }
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 32 }
allowed_batch_sizes: 1
allowed_batch_sizes: 4
allowed_batch_sizes: 16
allowed_batch_sizes: 32
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 64 }
num_batch_threads { value: 2 }
"""

# Sizes to warm up with: single requests, and a batch.
WARM_UP_SIZES = (1, 4)


def write_configs(folder, serving, model: str) -> list[pathlib.Path]:
    """Writes models.config and batching.config for the models that will be there.

    Args:
        folder: That of a `Workspace` of `serving`, for renames to move the files: a
            full disk is found before a model appears.
        serving: Folder of `<model>/<version>/` folders.
        model: Name of the one that is about to appear, or has versions already.

    Returns:
        The files.
    """
    # Lazy: a slow import.
    from tensorflow_serving.config import model_server_config_pb2

    found = {
        path.name
        for path in pathlib.Path(serving).iterdir()
        if not path.name.startswith(".")
        # A message of TF Serving holds UTF-8 only.
        and escaping.is_plain(path.name)
        and any(path.glob("*/saved_model.pb"))
    }
    config = model_server_config_pb2.ModelServerConfig()
    for name in sorted({*found, model}):
        config.model_config_list.config.add(
            name=name, base_path=f"{_MOUNT}/{name}", model_platform="tensorflow"
        )
    contents = {
        pathlib.Path(folder, "models.config"): text_format.MessageToString(config),
        pathlib.Path(folder, "batching.config"): _BATCHING,
    }
    for path, text in contents.items():
        write_bytes(path, text.encode())
    return list(contents)


def docker_command(serving) -> str:
    """The line that serves the models of a folder, gRPC on port 8500, REST on 8501."""
    mount = escaping.shell(f"{pathlib.Path(serving).absolute()}:{_MOUNT}:ro")
    return (
        f"docker run --rm -p 8500:8500 -p 8501:8501 -v {mount} "
        f"tensorflow/serving --model_config_file={_MOUNT}/models.config "
        f"--enable_batching=true --batching_parameters_file={_MOUNT}/batching.config"
    )


def write_warmup(path, model: str, signatures, images: np.ndarray) -> None:
    """Writes requests that a server runs before it reports that it is ready.

    Args:
        path: `<version>/assets.extra/tf_serving_warmup_requests`.
        model: Its name.
        signatures: Names.
        images: As the signatures take them, max(WARM_UP_SIZES) or fewer.
    """
    from tensorflow_serving.apis import prediction_log_pb2

    with tf.io.TFRecordWriter(str(path)) as file:
        for signature in signatures:
            for size in WARM_UP_SIZES:
                log = prediction_log_pb2.PredictionLog()
                request = log.predict_log.request
                request.model_spec.name = model
                request.model_spec.signature_name = signature
                batch = np.resize(images, (size, *images.shape[1:]))
                request.inputs["image"].CopyFrom(tf.make_tensor_proto(batch))
                file.write(log.SerializeToString())
