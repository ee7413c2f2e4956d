import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from trained_run import (
    DIGITS,
    MANIFESTATIONS,
    copy_of_keras,
    files,
    parse,
    pixels,
    saved_variables,
    stand_in,
)

import export
from export import parity, runtimes, saved_model, serving, staging, tf_serving
from export.run import Run
from export.staging import LAST_VERSION
from trainers.errors import OptionError


@pytest.fixture(scope="module")
def exported(runs, digits_dir, tmp_path_factory):
    """The folders of both manifestations, versions of one model."""
    output = tmp_path_factory.mktemp("exports")
    shared = [f"--run={runs['digits']}", f"--data_dir={digits_dir}"]
    return {
        (scheme, steps): saved_model.main(
            parse(
                [
                    *shared,
                    f"--output={output}",
                    f"--scheme={scheme}",
                    f"--steps={steps}",
                ]
            )
        )
        for scheme, steps in MANIFESTATIONS
    }


@pytest.fixture
def flags_for(export_flags):
    return export_flags(saved_model.Options)


@pytest.mark.parametrize("scheme, steps", MANIFESTATIONS)
def test_export_agrees_with_keras(runs, exported, scheme, steps):
    call = runtimes.saved_model(exported[scheme, steps])["serving_default"]
    net = copy_of_keras(runs["digits"], scheme, steps)
    for count in (1, 5):
        outputs = call(serving.feeder(DIGITS)(pixels(count)))
        expected = serving.keras_logits(net, DIGITS)(pixels(count))
        np.testing.assert_allclose(outputs["logits"], expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(
            outputs["probabilities"], keras.ops.softmax(expected), atol=1e-5
        )
        np.testing.assert_array_equal(outputs["label"], expected.argmax(-1))
        assert outputs["label"].dtype == np.int32
    # So that agreement means something: the same weights in another manifestation, or
    # with the batch's own moments, give other logits.
    other = copy_of_keras(runs["digits"], "midpoint", 3)
    assert (
        np.abs(serving.keras_logits(other, DIGITS)(pixels(5)) - expected).max() > 0.01
    )
    by_moments = np.array(net(serving.feeder(DIGITS)(pixels(5)), training=True))
    assert np.abs(by_moments - expected).max() > 0.01


def test_versions_count_up_and_leave_earlier_ones_alone(exported):
    first, second = exported.values()
    assert (first.name, second.name) == ("1", "2")
    assert first.parent == second.parent
    assert sorted(os.listdir(first.parent)) == ["1", "2"]
    assert first.parent.name == "cnet" and first.parent.parent.name == "serving"


def test_names_and_normalisation_travel_along(exported):
    extra = exported["rk4", 1] / "assets.extra"
    assert (extra / "class_names.txt").read_text().split() == DIGITS["class_names"]
    normalization = json.loads((extra / "normalization.json").read_text())
    assert normalization == {"mean": DIGITS["mean"], "std": DIGITS["std"]}


@pytest.mark.slow
def test_loads_in_another_process_without_this_package(exported):
    code = (
        "import sys, tensorflow as tf\n"
        "m = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "out = m(image=tf.zeros((3, 8, 8, 1)))\n"
        "assert 'cnet_tf' not in sys.modules\n"
        "print(sorted((k, tuple(v.shape)) for k, v in out.items()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, exported["rk4", 1]],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(
        [("label", (3,)), ("logits", (3, 10)), ("probabilities", (3, 10))]
    )


def test_uint8_input_as_trained(flags_for, capsys):
    folder = saved_model.main(flags_for("--input=uint8"))
    assert "| rk4-1 " in capsys.readouterr().out
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    assert signature.structured_input_signature[1] == {
        "image": tf.TensorSpec((None, 8, 8, 1), tf.uint8, "image")
    }


@pytest.fixture
def several(flags_for):
    """A SavedModel with three signatures."""
    return saved_model.main(flags_for("--manifestations=euler:2,midpoint:4"))


NETS = {
    "serving_default": ("rk4", 1),
    "euler_2": ("euler", 2),
    "midpoint_4": ("midpoint", 4),
}


@pytest.mark.slow
def test_signatures_by_tag_and_tensor_names_as_a_server_runs_them(runs, several):
    images = {count: serving.feeder(DIGITS)(pixels(count)) for count in (1, 3, 7)}
    found = {}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(several))
        for name in NETS:
            signature = meta.signature_def[name]
            assert signature.method_name == "tensorflow/serving/predict"
            assert list(signature.inputs) == ["image"]
            assert sorted(signature.outputs) == ["label", "logits", "probabilities"]
            outputs = {k: v.name for k, v in signature.outputs.items()}
            for count, image in images.items():
                fed = {signature.inputs["image"].name: image}
                found[name, count] = session.run(outputs, fed)
    for (name, count), outputs in found.items():
        net = copy_of_keras(runs["small"], *NETS[name])
        expected = serving.keras_logits(net, DIGITS)(pixels(count))
        np.testing.assert_allclose(outputs["logits"], expected, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(outputs["label"], expected.argmax(-1))
    delta = found["euler_2", 7]["logits"] - found["serving_default", 7]["logits"]
    assert np.abs(delta).max() > 0.01


@pytest.mark.slow
def test_signatures_share_one_set_of_variables(flags_for, several):
    assert saved_variables(several) == saved_variables(saved_model.main(flags_for()))


def test_model_card_beside_the_model(several):
    text = (several / "model_card.md").read_text()
    assert "/v1/models/cnet:predict" in text
    assert re.search(r"\| midpoint_4 +\| +midpoint \| +4 \|", text)


def test_the_python_of_the_card_runs_in_its_folder(several, monkeypatch, capsys):
    text = (several / "model_card.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(several)
    exec(compile(code, "card", "exec"), {})  # noqa: S102
    assert "tf.Tensor" in capsys.readouterr().out


def test_no_version_follows_the_last_that_servers_read(tmp_path):
    for name in (str(LAST_VERSION - 1), str(2**64), "notes"):
        (tmp_path / name).mkdir()
    staging.refuse_version(tmp_path, None)
    assert staging.latest_version(tmp_path) + 1 == LAST_VERSION
    (tmp_path / str(LAST_VERSION)).mkdir()
    with pytest.raises(OptionError, match="--version: .* which nothing can follow"):
        staging.refuse_version(tmp_path, None)
    staging.refuse_version(tmp_path, 7)


@pytest.mark.slow
def test_an_explicit_version_is_used_once(flags_for, monkeypatch, capsys):
    first = saved_model.main(flags_for("--version=7"))
    assert "note: TF Serving" not in capsys.readouterr().err
    saved_model.main(flags_for("--version=6"))
    assert "serves the latest version, 7, unless" in capsys.readouterr().err
    assert first.name == "7"
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    monkeypatch.setattr(Run, "read", None)  # Refused before any work.
    with pytest.raises(OptionError, match="--version: .*Received 7: versions are"):
        saved_model.main(flags_for("--version=7"))
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == before


@pytest.mark.slow
def test_a_polling_server_sees_whole_versions_only(flags_for, tmp_path):
    """As TF Serving does: what has a number for a name is loaded at once."""
    seen, stop = [], threading.Event()

    def poll():
        while not stop.is_set():
            for folder in tmp_path.glob("out/serving/cnet/*"):
                if folder.name.isdecimal():
                    files = sorted(os.listdir(folder))
                    seen.append((folder.name, files, os.listdir(folder / "variables")))
            time.sleep(0.0005)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        for _ in range(2):
            version = saved_model.main(flags_for())
        time.sleep(0.05)
    finally:
        stop.set()
        thread.join()
    whole = sorted(os.listdir(version))
    assert {name for name, *_ in seen} == {"1", "2"}
    assert all(files == whole and len(parts) == 2 for _, files, parts in seen)


def test_a_disk_that_is_full_at_the_very_end_leaves_nothing(
    flags_for, tmp_path, monkeypatch
):
    """The configs of the server are the last files, and a version is no half either."""

    def full(path, content):
        path.with_name("tmp").touch()
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(tf_serving, "write_bytes", full)
    with pytest.raises(OptionError, match="--output: .*No space left.*make room"):
        saved_model.main(flags_for())
    assert files(tmp_path) == []


@pytest.mark.parametrize("version", ["0", "-1", "1.5", "latest", str(2**63), ""])
def test_bad_versions_are_refused(flags_for, version):
    with pytest.raises(
        OptionError, match="--version: expected an integer in 1 .*Received"
    ):
        flags_for(f"--version={version}")


@pytest.mark.parametrize("name", ["7", "a/b", "..", "", "a b", "käse"])
def test_bad_model_names_are_refused(flags_for, name):
    with pytest.raises(OptionError, match="but not only digits. Received"):
        flags_for(f"--model_name={name}")


@pytest.mark.parametrize("output", ["out", "deep/er/out"])
def test_a_failed_gate_leaves_nothing(flags_for, tmp_path, monkeypatch, capsys, output):
    monkeypatch.setattr(serving, "write_archive", lambda path, *_: path.mkdir())
    broken = dataclasses.replace(saved_model.FORMAT, reload=stand_in)
    monkeypatch.setattr(saved_model, "FORMAT", broken)
    with pytest.raises(parity.ParityError, match="expected logits within"):
        saved_model.main(flags_for(f"--output={tmp_path / output}"))
    assert "max abs delta logits" in capsys.readouterr().out
    assert files(tmp_path) == []


def test_an_interruption_leaves_earlier_versions_alone(
    flags_for, tmp_path, monkeypatch
):
    (tmp_path / "out" / "serving" / "cnet" / "1").mkdir(parents=True)
    before = files(tmp_path)

    def interrupt(path, *_):
        (path / "variables").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(serving, "write_archive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        saved_model.main(flags_for())
    assert files(tmp_path) == before


@pytest.mark.slow
def test_the_script_says_one_line_and_exits_with_2(tmp_path):
    """Run by path, from an empty folder, without an install."""
    script = pathlib.Path(export.__file__).parent / "saved_model.py"
    done = subprocess.run(
        [sys.executable, script, "--run=runs/none"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("error: --run: ")
    assert "/runs/none/net/net.json: expected a" in lines[-1]
    # The rest, if any, is TensorFlow's note on the machine.
    assert [line for line in lines if line.startswith("error")] == lines[-1:]
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []
