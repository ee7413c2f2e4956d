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

# Mount point of the folder in the container.
_MOUNT = "/models"

# Requests for a signature wait up to 2 ms to form a batch of at most 32; two batches
# run at a time. Larger requests, up to 1024 images, are split. The server rejects
# requests beyond 64 queued batches, so that overload shows at once instead of as late
# answers. Batches are padded to one of four sizes, because the runtime prepares a graph
# for every size it meets; the last must equal max_execution_batch_size (the server's
# batching_session.cc).
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
    """Writes models.config and batching.config for all models, a new one included.

    Args:
        folder: Folder of a `Workspace` of `serving`, so that renames can move the
            files: a full disk is found before a model appears.
        serving: Folder of `<model>/<version>/` folders.
        model: Name of the model about to appear; it may have versions already.

    Returns:
        The paths of the files.
    """
    # Lazy: a slow import.
    from tensorflow_serving.config import model_server_config_pb2

    found = {
        path.name
        for path in pathlib.Path(serving).iterdir()
        if not path.name.startswith(".")
        # Messages of TF Serving hold UTF-8 only.
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
    """Returns the command to serve a folder, gRPC on port 8500, REST on port 8501."""
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
        model: Name of the model.
        signatures: Names of the signatures.
        images: At most max(WARM_UP_SIZES) images, as the signatures take them.
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
