"""SavedModels that take JPEG and PNG files, and refuse what they cannot decode."""

import base64
import io
import json
import struct
import zlib

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


def _smooth(mode, **changes):
    """A picture of all shades in a mode of Pillow, the colours reduced if asked."""
    shades = np.linspace(0, 255, 32 * 32).reshape(32, 32)
    rgb = np.stack([shades, shades.T, 255 - shades], axis=-1).astype("u1")
    image = PIL.Image.fromarray(rgb)
    if mode == "P":
        return image.quantize(changes["colours"])
    if mode == "I;16":
        return PIL.Image.fromarray((256 * shades).astype("u2"))
    return image.convert(mode)


def _grey_png(bits):
    """A grey PNG of so many bits per sample, which Pillow reads but does not write."""
    shades = np.arange(32 * 32).reshape(32, 32) % 2**bits
    rows = np.unpackbits(shades[..., None].astype("u1"), axis=-1)[..., -bits:]
    rows = np.packbits(rows.reshape(32, -1), axis=-1)
    header = struct.pack(">IIBBBBB", 32, 32, bits, 0, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
        for t, d in chunks
    )


def _file(image, form, **more):
    stream = io.BytesIO()
    image.save(stream, form, **more)
    return stream.getvalue()


FILES = {
    **{f"PNG {mode}": _file(_smooth(mode), "PNG") for mode in ("1", "L", "LA", "RGB")},
    **{f"PNG {mode}": _file(_smooth(mode), "PNG") for mode in ("RGBA", "I;16")},
    **{f"PNG grey, {bits} bits": _grey_png(bits) for bits in (1, 2, 4)},
    **{
        f"PNG of {n} colours": _file(_smooth("P", colours=n), "PNG")
        for n in (2, 4, 16, 256)
    },
    "PNG of 16 colours, one clear": _file(
        _smooth("P", colours=16), "PNG", transparency=3
    ),
    **{f"JPEG {mode}": _file(_smooth(mode), "JPEG") for mode in ("L", "RGB", "CMYK")},
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", FILES)
def test_the_graph_sees_what_training_reads(kind, channels, tmp_path):
    """PNG of few bits got the alpha of few bits, and was laid on white."""
    path = tmp_path / "a"
    path.write_bytes(FILES[kind])
    (found,) = serving._decoded(tf.constant([FILES[kind]]), (32, 32, channels))
    np.testing.assert_array_equal(found, image_files.pixels(str(path), channels))


@pytest.mark.parametrize("kind", ["JPEG L", "JPEG RGB", "PNG grey, 2 bits", "PNG RGB"])
def test_nets_of_four_channels_see_opaque_files_as_opaque(kind):
    (found,) = serving._decoded(tf.constant([FILES[kind]]), (32, 32, 4))
    np.testing.assert_array_equal(found[..., 3], 255)


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
