"""Models of one's own, exported from a `.keras` file, agree with Keras."""

import re

import keras
import numpy as np
import PIL.Image
import pytest
from trained_run import parse, ungated

from cnet_tf import ContinuousMobileNet, continuous_net
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.manifestation import manifest
from cnet_tf.samples import sample_images
from export import onnx_graph, saved_model, single_file, tflite
from trainers.data.generated import generated
from trainers.errors import OptionError

L = keras.layers
SHAPE = (10, 9, 3)


def flat():
    """Layers side by side, a frozen one, a block whose rate is one layer."""
    inputs = keras.Input(SHAPE)
    x = L.Conv2D(6, 3, 2, padding="valid", use_bias=False)(inputs)
    x = L.ReLU()(L.BatchNormalization()(x))
    x = ContinuousBlock(L.Conv2D(6, 3, padding="same", activation="tanh"), nodes=2)(x)
    return keras.Model(inputs, L.Dense(4)(L.GlobalMaxPooling2D()(x)), name="flat")


def nested():
    """A model within a model, blocks of other schemes, unknown layers in a rate."""
    layers = [L.DepthwiseConv2D(3, padding="same"), L.BatchNormalization(), L.ReLU(6.0)]
    unit = keras.Sequential([*layers, L.LayerNormalization(), L.Conv2D(5, 1)])
    inner = keras.Sequential(
        [L.Conv2D(5, 3), ContinuousBlock(unit, nodes=3, scheme="midpoint", steps=2)]
    )
    inputs = keras.Input(SHAPE)
    x = inner(inputs) * 0.5
    x = ContinuousBlock(L.Conv2D(5, 1), nodes=1, scheme="euler", steps=3)(x)
    return keras.Model(inputs, L.Dense(4)(L.GlobalAveragePooling2D()(x)))


def attention():
    """A functional unit with attention over the rows of an image."""
    x = keras.Input((10, 27))
    a = L.MultiHeadAttention(3, 9)(L.LayerNormalization()(x), x)
    unit = keras.Model(x, L.Dense(27)(L.Dense(9, "gelu")(a)))
    rows = [L.Reshape((10, 27)), ContinuousBlock(unit, nodes=2, scheme="heun2")]
    return keras.Sequential(
        [keras.Input(SHAPE), *rows, L.GlobalAveragePooling1D(), L.Dense(4)]
    )


MODELS = {
    "flat": flat,
    "nested": nested,
    "attention": attention,
    "mobile": lambda: ContinuousMobileNet(
        4, (4, 6), 2, (1, 2), 4, 8, input_shape=SHAPE, nodes=2
    ),
    "resnet": lambda: continuous_net(
        "resnet20", widths=(4,), stem_width=4, classes=4, input_shape=SHAPE
    ),
}


def randomized(model):
    rng = np.random.default_rng(1)
    for v in model.variables:
        if "seed" not in v.name:
            low = 0.5 if "variance" in v.name else -0.3
            v.assign(rng.uniform(low, low + 0.6, v.shape))
    return model


@pytest.fixture(scope="module", params=MODELS)
def saved(request, tmp_path_factory):
    model = randomized(MODELS[request.param]())
    path = tmp_path_factory.mktemp(request.param) / "my.keras"
    model.save(path)
    return model, path


@pytest.mark.slow
@pytest.mark.parametrize("module", [tflite, onnx_graph], ids=["tflite", "onnx"])
def test_one_file_agrees_with_keras(saved, module, tmp_path):
    model, path = saved
    options = parse(
        [f"--model={path}", f"--output={tmp_path}", "--parity_images=64"],
        module.Options,
    )
    file = single_file.to_file(options, module.FORMAT)
    outputs = module.FORMAT.reload(file)["serving_default"]
    images = np.random.default_rng(2).normal(size=(5, *SHAPE)).astype("float32")
    expected = np.array(model(images))
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(outputs(images)["logits"], expected, rtol=0, atol=1e-4)
    card = file.with_name(file.name + ".md").read_text()
    assert "No accuracy was measured" in card and "accuracy, Keras" not in card
    assert "`my.keras`" in card


def test_a_saved_model_holds_manifestations_of_it(tmp_path):
    model = randomized(flat())
    model.save(tmp_path / "my.keras")
    arguments = [f"--model={tmp_path / 'my.keras'}", f"--output={tmp_path / 'out'}"]
    arguments += ["--manifestations=euler:1", "--labels=a,b,c,d", "--std=0.5"]
    version = saved_model.main(parse(arguments, saved_model.Options))
    calls = saved_model.FORMAT.reload(version)
    images = np.random.default_rng(2).normal(size=(3, *SHAPE)).astype("float32")
    np.testing.assert_allclose(
        calls["euler_1"](images)["logits"], manifest(model, "euler", 1)(images), 1e-5
    )
    names = (version / "assets.extra" / "class_names.txt").read_text()
    assert names == "a\nb\nc\nd\n"


@pytest.mark.parametrize(("model", "stays"), [(flat, False), (attention, True)])
def test_integers_say_what_stays_in_floats(model, stays, tmp_path, capsys):
    randomized(model()).save(tmp_path / "my.keras")
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(3)
    for i in range(100):
        pixels = rng.integers(0, 256, SHAPE, dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
    arguments = [f"--{end}={tmp_path / end}" for end in ("images", "output")]
    arguments += [f"--model={tmp_path / 'my.keras'}", "--precision=int8", "--std=0.5"]
    options = parse(arguments, tflite.Options)
    path = single_file.to_file(options, ungated(tflite.FORMAT))
    card = path.with_name(f"{path.name}.md").read_text()
    remark = r"\d+ operators inside compute in float32 .*: .*NEG.*\. Runtimes"
    for text in (card, capsys.readouterr().out):
        assert bool(re.search(remark, text)) == stays
    assert tflite.FORMAT.remark(path, "float32") == ""


@pytest.mark.parametrize("module", [tflite, onnx_graph], ids=["tflite", "onnx"])
def test_layers_that_a_format_does_not_know_end_in_a_line(module, tmp_path):
    inputs = keras.Input(SHAPE)
    x = keras.ops.erfinv(0.9 * keras.ops.tanh(inputs))
    model = keras.Model(inputs, L.Dense(4)(L.GlobalMaxPooling2D()(x)))
    model.save(tmp_path / "my.keras")
    paths = [f"--model={tmp_path / 'my.keras'}", f"--output={tmp_path / 'out'}"]
    with pytest.raises(OptionError, match="expected layers that") as error:
        single_file.to_file(parse(paths, module.Options), module.FORMAT)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--recalibrate=3"], "--recalibrate: expected 0 with --model"),
        (["--precision=int8"], "--precision: expected one that learns nothing"),
        (["--run=runs/latest"], "--model: expected either a file or --run"),
        (["--labels=a,b"], "--labels: expected 4 different names"),
        (["--std=1,2"], "--std: expected one number, or 3"),
        (["--basis_size=9"], "--basis_size: expected at most K = 2"),
    ],
)
def test_bad_input_ends_in_a_line(arguments, match, tmp_path):
    flat().save(tmp_path / "my.keras")
    with pytest.raises(OptionError, match=match) as error:
        model = f"--model={tmp_path / 'my.keras'}"
        options = parse(
            [model, f"--output={tmp_path / 'out'}", *arguments], tflite.Options
        )
        single_file.to_file(options, tflite.FORMAT)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_generated_images_are_samples_and_patches_of_all_scales_without_labels():
    description = {"name": "x", "image_shape": SHAPE, "class_names": ["a"]}
    data = generated({**description, "mean": [0.0], "std": [1.0]})
    elements = list(data.test.as_numpy_iterator())
    assert len(elements) == data.sizes["test"] and set(elements[0]) == {"image"}
    samples = sample_images(SHAPE)
    for element, image in zip(elements, samples.values(), strict=False):
        np.testing.assert_array_equal(element["image"], image)
    colours = [len(np.unique(e["image"][..., 0])) for e in elements[8:16]]
    assert colours[:3] == sorted(colours[:3]) and colours[0] == 1 < 50 < colours[7]
