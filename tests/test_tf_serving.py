"""What the server reads, read as the server does."""

import concurrent.futures
import os
import re
import shlex
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2
from trained_run import export_version

from export import saved_model, serving, staging, tf_serving

pytestmark = pytest.mark.slow  # Warm-up by many signatures.

SIGNATURES = ["serving_default", "euler_2", "midpoint_4"]


@pytest.fixture(scope="module", params=serving.INPUTS)
def version(request, runs, digits_dir, tmp_path_factory):
    """A version with three signatures, for every kind of input."""
    return export_version(
        runs["small"],
        digits_dir,
        tmp_path_factory.mktemp("exports"),
        f"--input={request.param}",
        "--model_name=a-model",
    )


def test_warm_up_requests_run_by_tag_and_tensor_names(version):
    file = version / "assets.extra" / "tf_serving_warmup_requests"
    records = list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator())
    assert len(records) <= 1000  # More are refused by the server.
    seen = []
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(version))
        for record in records:
            log = prediction_log_pb2.PredictionLog.FromString(record)
            request = log.predict_log.request
            assert request.model_spec.name == "a-model"
            name = request.model_spec.signature_name
            signature = meta.signature_def[name]
            assert request.inputs.keys() == signature.inputs.keys() == {"image"}
            assert request.inputs["image"].dtype == signature.inputs["image"].dtype
            image = tf.make_ndarray(request.inputs["image"])
            logits = session.run(
                signature.outputs["logits"].name,
                {signature.inputs["image"].name: image},
            )
            assert logits.shape == (len(image), 10) and np.all(np.isfinite(logits))
            # Test images, not blanks; those of files differ in more than headers.
            encoded = image.dtype == object
            assert min(map(len, image)) > 80 if encoded else image.std() > 0
            seen.append((name, len(image)))
    sizes = tf_serving.WARM_UP_SIZES
    assert seen == [(name, size) for name in SIGNATURES for size in sizes]


def _models(folder):
    text = (folder / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return [
        (model.name, model.base_path, model.model_platform)
        for model in config.model_config_list.config
    ]


def test_an_export_leaves_the_configs_beside_its_model(version):
    folder = version.parent.parent
    assert _models(folder) == [("a-model", "/models/a-model", "tensorflow")]
    files = ["a-model", "batching.config", "models.config"]
    assert sorted(os.listdir(folder)) == files


def test_models_config_names_all_of_many_first_exports_at_once(tmp_path, monkeypatch):
    """Each waits for the one before, however long that takes between two files."""
    write = tf_serving.write_configs

    def slowly(*arguments):
        files = write(*arguments)
        time.sleep(0.1)
        return files

    def publish(model):
        with staging.Workspace(tmp_path) as workspace:
            path = workspace.folder / "saved"
            path.mkdir()
            (path / "saved_model.pb").touch()
            start.wait()
            saved_model.publish(workspace, path, model)

    monkeypatch.setattr(tf_serving, "write_configs", slowly)
    models = ["a", "b", "c", "d"]
    start = threading.Barrier(len(models))
    with concurrent.futures.ThreadPoolExecutor(len(models)) as pool:
        list(pool.map(publish, models))
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((tmp_path / "models.config").read_text(), config)
    assert [one.name for one in config.model_config_list.config] == models
    assert {*os.listdir(tmp_path)} == {*models, "batching.config", "models.config"}


def test_models_config_names_all_models_and_nothing_else(tmp_path):
    serving_folder = tmp_path / "serving"
    for name in ("b/1", "a/1", "a/2", ".tmp-x/model", "notes/1"):
        (serving_folder / name).mkdir(parents=True)
        if name != "notes/1":
            (serving_folder / name / "saved_model.pb").touch()
    (serving_folder / "models.config").touch()
    files = tf_serving.write_configs(tmp_path, serving_folder, "new")
    assert [file.name for file in files] == ["models.config", "batching.config"]
    assert [name for name, *_ in _models(tmp_path)] == ["a", "b", "new"]
    again = tf_serving.write_configs(tmp_path, serving_folder, "a")
    assert again == files
    assert [name for name, *_ in _models(tmp_path)] == ["a", "b"]


def test_batching_config(tmp_path):
    """Its schema is in no Python package: session_bundle_config.proto of the server."""
    tf_serving.write_configs(tmp_path, tmp_path, "new")
    text = (tmp_path / "batching.config").read_text()
    lines = text.splitlines()
    wrapped = dict(
        re.fullmatch(r"(\w+) { value: (\d+) }", line).groups()
        for line in lines
        if "{" in line and "true" not in line
    )
    assert wrapped.keys() == {
        "max_batch_size",
        "max_execution_batch_size",
        "batch_timeout_micros",
        "max_enqueued_batches",
        "num_batch_threads",
    }
    assert "enable_large_batch_splitting { value: true }" in lines
    plain = [line.split(": ") for line in lines if "{" not in line]
    assert {name for name, _ in plain} == {"allowed_batch_sizes"}
    allowed = [int(size) for _, size in plain]
    # The server refuses to start unless they increase and end there.
    assert allowed == sorted(set(allowed))
    assert allowed[-1] == int(wrapped["max_execution_batch_size"])
    assert set(tf_serving.WARM_UP_SIZES) <= set(allowed)
    # A request of 33 images, or of the largest size, is cut up and fits the queue.
    largest = int(wrapped["max_batch_size"])
    assert largest >= 1000
    assert largest / allowed[-1] <= int(wrapped["max_enqueued_batches"])


@pytest.mark.parametrize("name", ["exports", "my exports", "it's"])
def test_docker_command_in_the_words_of_a_shell(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(tf_serving.docker_command(f"{name}/serving"))
    assert words[:2] == ["docker", "run"]
    assert words[words.index("-v") + 1] == f"{tmp_path}/{name}/serving:/models:ro"
    assert [words[i + 1] for i, word in enumerate(words) if word == "-p"] == [
        "8500:8500",
        "8501:8501",
    ]
    image = words.index("tensorflow/serving")
    assert words[image + 1 :] == [
        "--model_config_file=/models/models.config",
        "--enable_batching=true",
        "--batching_parameters_file=/models/batching.config",
    ]
