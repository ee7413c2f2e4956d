"""SavedModels that take JPEG and PNG files, and refuse what they cannot decode."""

import base64
import io
import json

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from trained_run import DIGITS, copy_of_keras, parse, pixels, save_run

from export import runtimes, saved_model, serving, tflite
from trainers.data import image_files
from trainers.errors import OptionError


def _rest(folder, body: str) -> list[dict]:
    """The predictions of TF Serving's REST interface: rows of instances, base64."""
    request = json.loads(body)
    instances = [each["image"] for each in request["instances"]]
    image = [base64.b64decode(each["b64"], validate=True) for each in instances]
    outputs = runtimes.saved_model(folder)[request["signature_name"]](image)
    rows = zip(*outputs.values(), strict=True)
    return [dict(zip(outputs, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def exported(runs, digits_dir, tmp_path_factory):
    arguments = [f"--run={runs['small']}", f"--data_dir={digits_dir}"]
    arguments += [f"--output={tmp_path_factory.mktemp('exports')}"]
    few = ["--input=encoded", "--accuracy_images=20", "--manifestations=euler:2"]
    return saved_model.main(parse([*arguments, *few]))


@pytest.fixture(scope="module")
def call(exported):
    return runtimes.saved_model(exported)["serving_default"]


def test_files_give_the_logits_of_their_pixels(runs, exported, call):
    net = copy_of_keras(runs["small"], "rk4", 1)
    expected = serving.keras_logits(net, DIGITS)(pixels(5))
    files = serving.feeder(DIGITS, "encoded")(pixels(5))
    found = call(files)
    np.testing.assert_allclose(found["logits"], expected, rtol=0, atol=1e-5)
    body = {
        "signature_name": "serving_default",
        "instances": [{"image": {"b64": base64.b64encode(f).decode()}} for f in files],
    }
    rows = _rest(exported, json.dumps(body))
    np.testing.assert_array_equal([row["label"] for row in rows], found["label"])


def test_jpeg(call):
    """What Pillow makes of a JPEG, as in training, is what the graph sees."""
    file = tf.io.encode_jpeg(pixels(1)[0], quality=95).numpy()
    decoded = np.asarray(PIL.Image.open(io.BytesIO(file)))[..., None]
    as_png = serving.feeder(DIGITS, "encoded")(decoded[None])
    expected = call(as_png)["logits"]
    np.testing.assert_array_equal(call([file])["logits"], expected)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparent_pixels_are_laid_on_white_as_in_training(call, mode, tmp_path):
    rng = np.random.default_rng(0)
    clear = rng.integers(0, 256, (8, 8, 4), dtype=np.uint8)
    clear[..., :3] = clear[..., :1]  # Grey, for a net of one channel.
    image = PIL.Image.fromarray(clear).convert("LA" if mode == "LA" else "RGBA")
    if mode == "P":
        image = PIL.Image.fromarray(clear[..., 0]).convert("P")
        image.info["transparency"] = bytes(range(256))
    image.save(tmp_path / "a.png", **image.info)
    seen = image_files.pixels(str(tmp_path / "a.png"), 1)
    as_png = serving.feeder(DIGITS, "encoded")(seen[None])
    found = call([(tmp_path / "a.png").read_bytes()])["logits"]
    np.testing.assert_allclose(found, call(as_png)["logits"], atol=2e-2)


def test_colours_become_those_of_the_net(call):
    """A grey image in three channels."""
    grey = np.full((8, 8, 1), 77, np.uint8)
    files = [tf.io.encode_png(np.tile(grey, (1, 1, n))).numpy() for n in (1, 3)]
    logits = call(files)["logits"]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)


@pytest.mark.parametrize("signature", ["serving_default", "euler_2"])
@pytest.mark.parametrize(
    "file, message",
    [
        (tf.io.encode_png(np.zeros((8, 9, 1), np.uint8)), "expected 8 x 8 pixels"),
        (tf.io.encode_png(np.zeros((4, 16, 1), np.uint8)), r"Received\] \[4 16\]"),
        (tf.constant(b"no image"), "Unknown image file format"),
        (tf.constant(b""), "Unknown image file format|empty"),
        (tf.io.encode_png(np.zeros((8, 8, 1), np.uint8))[None][0], None),
    ],
)
def test_other_files_are_refused(exported, signature, file, message):
    run = runtimes.saved_model(exported)[signature]
    if message is None:
        run([file.numpy()])
        return
    good = tf.io.encode_png(np.zeros((8, 8, 1), np.uint8)).numpy()
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        run([good, file.numpy()])


def test_a_truncated_file_is_refused(call):
    file = serving.feeder(DIGITS, "encoded")(pixels(1))[0]
    with pytest.raises(tf.errors.InvalidArgumentError):
        call([bytes(file)[:-30]])


def test_the_card_tells(exported):
    text = (exported / "model_card.md").read_text()
    assert "- `image`: strings (batch,); the bytes of a JPEG or PNG file" in text
    assert '"instances": [{"image": {"b64": base64.b64encode(' in text


def test_channels_that_no_file_has_are_refused(digits_dir, tmp_path):
    """By the net alone, before its data are read."""
    data = {**DIGITS, "image_shape": [8, 8, 2], "mean": [0, 0], "std": [1, 1]}
    shape = (8, 8, 2)
    run = save_run(tmp_path / "run", data=data, shape=shape, widths=(4,), strides=(1,))
    arguments = [f"--run={run}", f"--output={tmp_path / 'out'}", "--input=encoded"]
    with pytest.raises(OptionError, match="--input: .*1, 3, 4 channels. Rec.* with 2"):
        saved_model.main(parse(arguments))
    assert not (tmp_path / "out").exists()


def test_formats_without_decoders_refuse_files():
    with pytest.raises(OptionError, match="--input: .*TFLite .* does not take"):
        tflite.Options(input="encoded")
