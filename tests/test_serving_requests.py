"""The requests on a model card are what TF Serving's protos and REST rules say.

A stand-in of the server answers them, over gRPC with the messages and the service of
the server's own package, and runs the exported SavedModel.
"""

import base64
import concurrent.futures
import contextlib
import io
import json
import re
import subprocess
import sys

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from trained_run import DIGITS, export_version, pixels

from export import runtimes, serving

pytestmark = pytest.mark.slow  # A server of its own.

MODEL = "a-model"


class Server(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers as the server does: by name of model, signature and tensor."""

    def __init__(self, version):
        self.model = tf.saved_model.load(str(version))
        self.seen = []

    def Predict(self, request, context):
        """See prediction_service.proto."""
        self.seen.append(request)
        spec = request.model_spec
        if spec.name != MODEL:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {spec.name}")
        if spec.signature_name not in self.model.signatures:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such signature")
        signature = self.model.signatures[spec.signature_name]
        takes = signature.structured_input_signature[1]
        inputs = {
            name: tf.constant(tf.make_ndarray(value))
            for name, value in request.inputs.items()
        }
        fits = inputs.keys() == takes.keys() and all(
            takes[name].is_compatible_with(value) for name, value in inputs.items()
        )
        if not fits:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not the inputs")
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(spec)
        for name, value in signature(**inputs).items():
            if not request.output_filter or name in request.output_filter:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


@pytest.fixture(scope="module", params=serving.INPUTS)
def exported(request, runs, digits_dir, tmp_path_factory):
    """A kind of input, and a version with three signatures that takes it."""
    output, kind = tmp_path_factory.mktemp("exports"), request.param
    flags = [f"--input={kind}", f"--model_name={MODEL}"]
    return kind, export_version(runs["small"], digits_dir, output, *flags)


@pytest.fixture(scope="module")
def server(exported):
    """The stand-in and the port it listens on."""
    found = Server(exported[1])
    pool = concurrent.futures.ThreadPoolExecutor(2)
    listening = grpc.server(pool)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        found, listening
    )
    port = listening.add_insecure_port("127.0.0.1:0")
    listening.start()
    yield found, port
    listening.stop(None)


def snippet(version, language) -> str:
    """The block of a language in the card of a version."""
    text = (version / "model_card.md").read_text()
    (found,) = re.findall(rf"```{language}\n(.*?)```", text, re.S)
    return found


def expected(exported, image) -> dict:
    return runtimes.saved_model(exported[1])["serving_default"](image)


def test_grpc(exported, server):
    kind, version = exported
    stand_in, port = server
    text = snippet(version, "python grpc")
    assert text.count("localhost:8500") == 1
    printed, scope = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        exec(text.replace("localhost:8500", f"127.0.0.1:{port}"), scope)  # noqa: S102
    assert len(stand_in.seen[-1].inputs["image"].tensor_shape.dim) in (1, 4)
    image = serving.feeder(DIGITS, kind)(np.zeros((1, 8, 8, 1), np.uint8))
    for name, values in expected(exported, image).items():
        np.testing.assert_allclose(scope["outputs"][name], values, atol=1e-6)
        assert name in printed.getvalue()


@pytest.mark.parametrize("count", [1, 33, 100])
def test_every_signature_answers_batches_over_grpc(exported, server, count):
    """What a client sends that fills in the request of the card."""
    kind, version = exported
    image = serving.feeder(DIGITS, kind)(pixels(count))
    reader = runtimes.saved_model(version)
    with grpc.insecure_channel(f"127.0.0.1:{server[1]}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for signature, call in reader.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name = MODEL
            request.model_spec.signature_name = signature
            request.inputs["image"].CopyFrom(tf.make_tensor_proto(image))
            found = stub.Predict(request, timeout=60).outputs
            for name, values in call(image).items():
                tensor = tf.make_ndarray(found[name])
                np.testing.assert_allclose(tensor, values, atol=1e-6)
    assert reader.keys() == {"serving_default", "euler_2", "midpoint_4"}


def as_request(body: dict, model: str, takes) -> predict_pb2.PredictRequest:
    """What the server makes of the JSON of a row request.

    Rows are instances by name of the input, {"b64": ..} are bytes, numbers have the
    type of the signature: https://www.tensorflow.org/tfx/serving/api_rest
    """
    assert body.keys() <= {"signature_name", "instances"}
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = body["signature_name"]
    for name, spec in takes.items():
        rows = [instance[name] for instance in body["instances"]]
        if spec.dtype == tf.string:
            assert all(row.keys() == {"b64"} for row in rows)
            rows = [base64.b64decode(row["b64"], validate=True) for row in rows]
        request.inputs[name].CopyFrom(tf.make_tensor_proto(rows, spec.dtype))
    assert all(row.keys() == takes.keys() for row in body["instances"])
    return request


def test_rest(exported, server, tmp_path):
    kind, version = exported
    stand_in, _ = server
    (black,) = serving.feeder(DIGITS, "encoded")(np.zeros((1, 8, 8, 1), np.uint8))
    (tmp_path / "image.png").write_bytes(bytes(black))
    python, _, curl = snippet(version, "shell").rpartition("|")
    words = curl.split()
    assert words[:3] == ["curl", "-d", "@-"]
    url = re.fullmatch(r"http://localhost:8501/v1/models/([^/]+):predict", words[3])
    command = python.replace("python3", sys.executable)
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    signature = stand_in.model.signatures[body["signature_name"]]
    takes = signature.structured_input_signature[1]
    request = as_request(body, url.group(1), takes)
    found = stand_in.Predict(request, None).outputs
    # Zeros are black pixels, but for normalised images.
    zeros = np.zeros((1, 8, 8, 1), np.float32)
    if kind != "normalized":
        zeros = serving.feeder(DIGITS, kind)(zeros.astype(np.uint8))
    for name, values in expected(exported, zeros).items():
        np.testing.assert_allclose(tf.make_ndarray(found[name]), values, atol=1e-6)


def test_the_server_can_tell_its_signatures(exported):
    """GetModelMetadata carries SignatureDefs: those of the export fit its message."""
    from tensorflow.core.protobuf import saved_model_pb2

    content = (exported[1] / "saved_model.pb").read_bytes()
    (graph,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    found = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in graph.signature_def.items():
        found.signature_def[name].CopyFrom(signature)
    assert {"serving_default", "euler_2", "midpoint_4"} <= found.signature_def.keys()
    for name in ("serving_default", "euler_2", "midpoint_4"):
        signature = found.signature_def[name]
        assert signature.method_name == "tensorflow/serving/predict"
        assert signature.inputs.keys() == {"image"}
        assert signature.outputs.keys() == {"logits", "probabilities", "label"}
