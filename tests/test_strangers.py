"""Run directories and nets of strangers: nothing of them hangs, hurts or fools."""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import struct

import keras
import pytest
from google.protobuf import text_format
from hangs import hangs_are_failures  # noqa: F401, a fixture
from tensorflow_serving.config import model_server_config_pb2
from trained_run import DIGITS, SMALL, parse, save_run

from cnet_tf import checkpoint, escaping
from cnet_tf.line_error import LineError
from export import tf_serving, training_record
from export.keras_file import class_names
from export.run import Run
from trainers import environment, run_directory, snapshots
from trainers.data import load_as_trained
from trainers.data.description import checked
from trainers.data.errors import DataError, MissingData
from trainers.errors import OptionError
from trainers.snapshots import Progress


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A run with everything that is read of one."""
    run = save_run(tmp_path_factory.mktemp("strangers") / "run", **SMALL)
    net = checkpoint.load(run / "net").net
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(net.trainable_variables)
    snapshots.save(run, net, optimizer, Progress(), {"data": DIGITS}, 2)
    (run / "options.json").write_text('{"seed": 0}')
    (run / "environment.json").write_text('{"git": "abc", "packages": {"k": "3"}}')
    (run / "summary.json").write_text('{"test_accuracy": 0.5}')
    (run / "flags.txt").write_text("--seed=0\n")
    (run / "lock").write_text("")
    return run


@pytest.fixture(scope="module")
def net(template):
    return checkpoint.load(template / "net").net


@pytest.fixture
def run(template, tmp_path):
    return shutil.copytree(template, tmp_path / "run")


def _optimizer(net):
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(net.trainable_variables)
    return optimizer


def _resumed(run):
    found = snapshots.newest(run, tell=lambda line: None)
    return found and snapshots.load(found, _optimizer)


# Everything that reads a file of a run directory, and what it reads.
READERS = {
    "net/net.json": lambda run: Run(run).read(),
    "net/net-*.safetensors": lambda run: Run(run).read(),
    "snapshots/*/manifest.json": _resumed,
    "snapshots/*/progress.json": _resumed,
    "snapshots/*/optimizer.safetensors": _resumed,
    "snapshots/*/net/net.json": _resumed,
    "environment.json": lambda run: (
        training_record.text(run),
        environment._starts(environment._last(run / "environment.json")),
    ),
    "summary.json": training_record.text,
    "flags.txt": training_record.text,
}
NESTED = b'{"a":' * 200_000


def _replaced(make):
    def replace(path):
        path.unlink()
        make(path)

    return replace


STRANGE = {
    "a pipe": _replaced(os.mkfifo),
    "a link to a device": _replaced(lambda path: path.symlink_to("/dev/zero")),
    "a huge file": lambda path: os.truncate(path, 2**40),
    "200,000 levels": lambda path: path.write_bytes(NESTED),
    "a list": lambda path: path.write_text("[]"),
    "other types": lambda path: path.write_text(
        '{"packages": [], "test_accuracy": "x", "earlier_starts": 3, "batch": true}'
    ),
}


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("name", READERS)
def test_no_file_of_a_run_hangs_its_reader(run, name, strange):
    """Nor eats memory: each is refused in a line, or passed over."""
    (path,) = run.glob(name)
    STRANGE[strange](path)
    with contextlib.suppress(LineError):
        READERS[name](run)


@pytest.mark.parametrize("name", ["net", "snapshots", "lock", "evaluation"])
def test_nothing_is_truncated_or_removed_through_a_link(run, tmp_path, name):
    outside = tmp_path / "outside"
    if name == "lock":
        outside.write_text("precious")
        (run / name).unlink()
    else:
        shutil.copytree(run / "net", outside)
        (outside / "tmp-old").mkdir()
        shutil.rmtree(run / name, ignore_errors=True)
    (run / name).symlink_to(outside)
    before = _content(outside)
    net = checkpoint.load(outside).net if name != "lock" else None
    with contextlib.suppress(LineError, OSError):
        if name == "net":
            checkpoint.save(net, run / "net")
        elif name == "snapshots":
            snapshots.save(run, net, _optimizer(net), Progress(updates=9), {}, 1)
        elif name == "lock":
            run_directory._lock(run)
        else:
            from trainers import evaluate

            evaluate.main(parse([f"--run={run}"], evaluate.Options))
    assert _content(outside) == before


def _content(path):
    paths = [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]
    return {str(p): p.read_bytes() for p in paths if p.is_file()}


ENTRIES = [
    ("name", "a\nb"),
    ("name", "gs://bucket/set"),
    ("name", 7),
    ("found_in", "gs://bucket"),
    ("image_shape", [8, 8]),
    ("image_shape", [8, 8, True]),
    ("image_shape", [10**6, 8, 1]),
    ("image_shape", [4, 8, 1]),
    ("class_names", "0123456789"),
    ("class_names", [*"012345678"]),
    ("class_names", [*"012345678", "8"]),
    ("class_names", [*"012345678", "a\nb"]),
    ("class_names", [*"012345678", "\x1b[31mred"]),
    ("class_names", [*"012345678", 9]),
    ("class_names", [*"012345678", "x" * 256]),
    ("mean", [float("nan")]),
    ("mean", [0.5, 0.5]),
    ("mean", 0.5),
    ("mean", [True]),
    ("std", [0.0]),
    ("std", [-1.0]),
    ("std", [float("inf")]),
    ("std", [None]),
    ("augment", "__import__('os')"),
    ("augment", ["crop"]),
    ("cutout", 10**9),
    ("cutout", True),
    ("image_size", 10**6),
    ("image_size", [8]),
    ("seed", -1),
    ("validation_fraction", 1.5),
    ("skip_broken", 1),
]


def test_a_class_may_be_called_what_a_folder_may(net):
    names = [*"012345678", "x" * 255]
    assert checked({"data": {**DIGITS, "class_names": names}}, "here", net)


@pytest.mark.parametrize(("key", "value"), ENTRIES, ids=repr)
def test_what_a_net_says_of_its_data_is_bounded(net, key, value):
    checked({"data": DIGITS}, "here", net)
    with pytest.raises(DataError, match=f"here: .*{key}: expected") as error:
        checked({"data": {**DIGITS, key: value}}, "here", net)
    assert escaping.is_plain(str(error.value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epoch", -1),
        ("epoch", True),
        ("batch", "7"),
        ("updates", 10**13),
        ("totals", [1.0]),
        ("totals", [float("nan"), 0.0, 0.0]),
        ("refined", 3),
        ("refined", [[3]]),
        ("factors", [3]),
        ("factors", [[0]]),
        ("history", [1]),
        ("history", [{"loss": "0.5"}]),
        ("seconds", None),
    ],
)
def test_how_far_a_run_has_come_is_bounded(run, key, value):
    (path,) = run.glob("snapshots/*/progress.json")
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, key: value}))
    with pytest.raises(ValueError, match=f"{key}: expected"):
        snapshots._progress(path)


def test_a_run_of_before_does_not_tell_its_factors(run):
    (path,) = run.glob("snapshots/*/progress.json")
    stored = json.loads(path.read_text())
    assert stored.pop("factors") == []
    path.write_text(json.dumps(stored))
    assert snapshots._progress(path) == Progress()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epoch", 3),
        ("batch", 5),
        ("updates", 10**12),
        ("history", []),
        ("totals", [0.0, 0.0, 0.0]),
        ("seconds", 0.0),
    ],
)
def test_how_far_a_run_has_come_agrees_with_itself(name, value):
    """Or a run would divide by nothing, or never end."""
    right = {"epoch": 1, "batch": 2, "updates": 6, "history": [{}], "seconds": 1.0}
    right["totals"] = [0.1, 3.0, 8.0]
    snapshots.Progress(**right).check(epochs=2, per_epoch=4)
    with pytest.raises(ValueError, match="(epoch|batch|updates|history|totals|sec)"):
        snapshots.Progress(**{**right, name: value}).check(epochs=2, per_epoch=4)


@pytest.fixture
def offline(monkeypatch):
    """Looking anything up is a failure."""

    def refuse(*arguments, **_):
        raise AssertionError(f"a look-up of {arguments[:1]}")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize(
    "name", ["mnist", "huggingface:squad", "kaggle:x/y", "cifar10/a=1", "../../etc"]
)
def test_no_set_is_looked_up_because_a_net_names_it(offline, tmp_path, name):
    with pytest.raises(MissingData) as error:
        load_as_trained({**DIGITS, "name": name}, str(tmp_path / "data"))
    assert escaping.is_plain(str(error.value))
    assert not (tmp_path / "data").exists()


def test_nothing_is_prepared_where_a_net_says(offline, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "mine"))
    (tmp_path / "theirs").mkdir()
    load_as_trained({**DIGITS, "found_in": str(tmp_path / "theirs")})
    assert os.listdir(tmp_path / "theirs") == []


NAMES = ["..", "a\nb", "\x1b[31m", "`|<b>$x^$", "a/b", "x" * 300, "", "_", "ä"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_net_cannot_choose_where_its_export_goes(run, name):
    """Its name is a part of the name of the file, and of scopes of graphs."""
    path = run / "net" / "net.json"
    stored = json.loads(path.read_text())
    stored["architecture"]["config"]["config"]["name"] = name
    path.write_text(json.dumps(stored))
    with pytest.raises(OptionError, match="--run: .*name: expected") as error:
        Run(run).read()
    assert escaping.is_plain(str(error.value))


def test_a_recipe_cannot_leave_its_block(tmp_path):
    (tmp_path / "flags.txt").write_text("--name=```\n<script>\x1b[31m\n")
    (tmp_path / "environment.json").write_text('{"git": "<script>", "packages": {}}')
    text = training_record.text(tmp_path)
    before, fence, rest = text.partition("````\n")
    assert fence and "<script>" not in before and "\x1b" not in text
    assert rest.endswith("\n````")


def test_labels_with_control_characters_are_refused(tmp_path):
    (tmp_path / "labels").write_text("cat\n\x1b[31mdog\n")
    with pytest.raises(
        OptionError, match="--labels: expected names .* without control characters"
    ):
        class_names(str(tmp_path / "labels"), 2)


def test_a_header_is_bounded_before_its_names_are_read(run):
    (old,) = (run / "net").glob("*.safetensors")
    text = NESTED
    content = struct.pack("<Q", len(text)) + text
    sha256 = hashlib.sha256(content).hexdigest()
    (run / "net" / f"net-{sha256[:16]}.safetensors").write_bytes(content)
    path = run / "net" / "net.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": sha256}))
    with pytest.raises(checkpoint.CheckpointError, match="at most 100 levels"):
        checkpoint.load(run / "net")


def test_folders_of_models_are_names_in_the_configuration_and_nothing_else(tmp_path):
    names = ['a"b', "c'd", "e\\f", 'x" base_path: "etc', "\x1b[31m", "a\nb", "ok"]
    for name in names:
        (tmp_path / "serving" / name / "1").mkdir(parents=True)
        (tmp_path / "serving" / name / "1" / "saved_model.pb").touch()
    config, _ = tf_serving.write_configs(tmp_path, tmp_path / "serving", "mine")
    parsed = text_format.Parse(
        config.read_text(), model_server_config_pb2.ModelServerConfig()
    )
    found = {model.name: model.base_path for model in parsed.model_config_list.config}
    expected = {*names, "mine"} - {"\x1b[31m", "a\nb"}
    assert found == {name: f"/models/{name}" for name in expected}
