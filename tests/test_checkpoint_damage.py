"""A damaged, foreign or hostile checkpoint is refused with a line."""

import json
import resource
import shutil

import pytest
from checkpoint_nets import image_net, small, weights_file

from cnet_tf import checkpoint
from cnet_tf.checkpoint import CheckpointError


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    """Folders of saved nets, written once: only copies are damaged."""
    folders = {}
    for name, net in {
        "features": small(),
        "image": image_net(nodes=1),
    }.items():
        folders[name] = tmp_path_factory.mktemp(name)
        checkpoint.save(net, folders[name])
    return folders


@pytest.fixture
def saved(templates, tmp_path):
    return shutil.copytree(templates["features"], tmp_path / "net")


@pytest.fixture
def saved_image(templates, tmp_path):
    return shutil.copytree(templates["image"], tmp_path / "net")


def refuses(directory, match):
    """Loading raises a CheckpointError of one line that names the place."""
    with pytest.raises(CheckpointError, match=match) as caught:
        checkpoint.load(directory)
    message = str(caught.value)
    assert "\n" not in message
    assert str(directory) in message


def test_missing_files(saved):
    refuses(saved / "nowhere", "expected a trained net, found no such file")
    weights_file(saved).unlink()
    refuses(saved, "expected a file of weights")


def test_truncated_weights(saved):
    path = weights_file(saved)
    path.write_bytes(path.read_bytes()[:-100])
    refuses(saved, "checksum differs")
    path.write_bytes(b"")
    refuses(saved, "checksum differs")


@pytest.mark.parametrize("position", [0, 0.5, 1])
def test_one_flipped_bit(saved, position):
    path = weights_file(saved)
    data = bytearray(path.read_bytes())
    data[int(position * (len(data) - 1))] ^= 1
    path.write_bytes(bytes(data))
    refuses(saved, "checksum differs")


def test_weights_of_another_net(tmp_path):
    checkpoint.save(small(1), tmp_path / "a")
    checkpoint.save(small(2), tmp_path / "b")
    weights_file(tmp_path / "b").replace(weights_file(tmp_path / "a"))
    refuses(tmp_path / "a", "checksum differs")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "\x00\ufffd"])
def test_a_description_that_is_none(saved, text):
    (saved / "net.json").write_text(text)
    refuses(saved, "not readable|expected format")


def test_a_description_that_is_not_text(saved):
    (saved / "net.json").write_bytes(b"\xff\xfe\x00")
    refuses(saved, "not readable")
    (saved / "net.json").unlink()
    (saved / "net.json").mkdir()
    refuses(saved, "not readable")


def edit(directory, change):
    path = directory / "net.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("format", 0, "expected format 4. Received 0"),
        ("format", 3, "expected format 4. Received 3"),
        ("format", None, "expected format 4"),
        ("architecture", {}, "cannot be rebuilt"),
        ("architecture", None, "cannot be rebuilt"),
        ("architecture", [1], "cannot be rebuilt"),
        ("architecture", {"config": {}, "frozen": []}, "cannot be rebuilt"),
        ("architecture", {"config": 3, "frozen": []}, "cannot be rebuilt"),
        ("sha256", 7, "weights"),
        ("sha256", "../../etc/passwd", "weights"),
    ],
)
def test_edited_description(saved, key, value, match):
    edit(saved, lambda d: d.update({key: value}))
    refuses(saved, match)


@pytest.mark.parametrize("key", ["architecture", "metadata", "sha256"])
def test_missing_key(saved, key):
    edit(saved, lambda d: d.pop(key))
    refuses(saved, f"expected the keys .*'{key}'")


def objects(config, name):
    """The objects of a class in an architecture."""
    found = []
    if isinstance(config, dict):
        found += [config] if config.get("class_name") == name else []
        config = list(config.values())
    if isinstance(config, list):
        found += [x for value in config for x in objects(value, name)]
    return found


def edit_object(directory, name, key, value):
    def change(description):
        objects(description["architecture"], name)[0]["config"][key] = value

    edit(directory, change)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("Dense", "units", 4),  # fits no weights
        ("LiftedLayer", "nodes", 4),
        ("LiftedLayer", "nodes", 1.5),
        ("LiftedLayer", "nodes", "22"),
        ("LiftedLayer", "basis", "fourier"),
        ("LiftedLayer", "basis", {"kind": "hat"}),
        ("Conv2D", "filters", "ab"),
        ("Conv2D", "filters", 0),
        ("Conv2D", "strides", ["1", "2"]),
        ("Conv2D", "dtype", "float7"),
        ("ContinuousBlock", "steps", 0),
        ("ContinuousBlock", "scheme", "rk5"),
        ("ContinuousBlock", "scheme", None),
        ("ContinuousBlock", "scheme", ["rk4"]),
        ("ContinuousBlock", "restriction", 3),
        ("ContinuousBlock", "unit", None),
        ("ContinuousBlock", "colour", "red"),
        ("InputLayer", "batch_shape", None),
        ("InputLayer", "batch_shape", [None, "2"]),
        ("Functional", "layers", []),
        ("Functional", "input_layers", [["nobody", 0, 0]]),
    ],
)
def test_edited_architecture(saved_image, name, key, value):
    edit_object(saved_image, name, key, value)
    refuses(saved_image, "cannot be rebuilt|: expected .* Received")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("Conv2D", "filters", 10**6),
        ("Conv2D", "kernel_size", [10**4, 10**4]),
        ("Dense", "units", 10**10),
        ("LiftedLayer", "nodes", 1000),
    ],
)
def test_an_architecture_larger_than_its_weights_takes_no_memory(
    saved_image, name, key, value
):
    edit_object(saved_image, name, key, value)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refuses(saved_image, "expected .* Received|cannot be rebuilt")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000  # kB


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("LiftedLayer", "nodes", 10**9), ("ContinuousBlock", "steps", 10**9)],
)
def test_an_architecture_that_asks_for_endless_work_is_refused(
    saved_image, name, key, value
):
    edit_object(saved_image, name, key, value)
    refuses(saved_image, f"{key}: expected an integer from 1 to 1,024")


@pytest.mark.parametrize(
    "foreign",
    [
        {"module": "keras.layers", "class_name": "Lambda", "registered_name": None},
        {"module": "keras.layers", "class_name": "TFSMLayer", "registered_name": None},
        {"module": "os", "class_name": "system", "registered_name": None},
        {"module": "keras.utils", "class_name": "get_file", "registered_name": None},
        {"module": "builtins", "class_name": "eval", "registered_name": "eval"},
        {"module": "mine", "class_name": "Net", "registered_name": "mine>Net"},
        {"module": None, "class_name": "__lambda__", "registered_name": None},
    ],
    ids=lambda foreign: foreign["class_name"],
)
def test_only_layers_of_keras_and_of_this_package_are_made(saved, foreign):
    edit(
        saved,
        lambda d: objects(d["architecture"], "ContinuousBlock")[0].update(foreign),
    )
    refuses(saved, "expected layers of Keras and cnet_tf.*" + foreign["class_name"])


def test_deep_nesting_is_refused(saved):
    deep = {}
    for _ in range(500):
        deep = {"a": deep}
    edit(saved, lambda d: d["architecture"].update(config=deep))
    refuses(saved, "expected at most 100 levels")


def test_links_are_refused(saved, tmp_path):
    path = weights_file(saved)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    refuses(saved, "expected a regular file. Received a link")
