"""Exports of a net whose data set is not there: compared on others, and said so."""

import os
import re
import shutil

import numpy as np
import pytest
from image_sets import write_image, write_set
from trained_run import DIGITS, SMALL, files, parse, save_run

from cnet_tf import checkpoint
from export import onnx_graph, report, saved_model, single_file, survey, tflite
from export.formats.table import FORMATS
from export.job import Job
from export.measure import Cost
from export.run import Run
from trainers.data import DataError
from trainers.errors import OptionError

NOWHERE = "folder:/no/such/pets"
SCRIPTS = {
    "saved_model": saved_model.main,
    "tflite": lambda options: single_file.to_file(options, tflite.FORMAT),
    "onnx": lambda options: single_file.to_file(options, onnx_graph.FORMAT),
}
TABLES = {
    "saved_model": saved_model.Options,
    "tflite": tflite.Options,
    "onnx": onnx_graph.Options,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose set of images was in a folder that nobody has."""
    folder = tmp_path_factory.mktemp("runs") / "pets"
    return save_run(folder, data={**DIGITS, "name": NOWHERE}, **SMALL)


@pytest.fixture
def options(run, tmp_path, monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)

    def of(form, *arguments):
        shared = [f"--run={run}", f"--output={tmp_path / 'out'}"]
        return parse([*shared, "--parity_images=20", *arguments], TABLES[form])

    return of


def card_of(path):
    card = path / "model_card.md" if path.is_dir() else f"{path}.md"
    with open(card, encoding="utf-8") as file:
        return file.read()


@pytest.mark.slow
@pytest.mark.parametrize("form", SCRIPTS)
def test_every_format_is_exported_from_the_net_alone(options, capsys, form):
    path = SCRIPTS[form](options(form))
    told = capsys.readouterr()
    (note,) = [line for line in told.err.splitlines() if line.startswith("note: ")]
    assert NOWHERE in note and "--data_dir" in note
    unmeasured = "No accuracy was measured: the data set of the net was not found"
    card = card_of(path)
    for text in (told.out, card):
        assert unmeasured in text
        assert "same label as Keras" in text and "accuracy, Keras" not in text
    assert "trained on `folder:pets`" in card and "/no/such" not in card


def test_a_net_travels_without_its_run(run, tmp_path):
    shutil.copytree(run / "net", tmp_path / "mine")
    alone, within = Run(tmp_path / "mine").read(), Run(run).read()
    assert (alone.sha256, alone.metadata) == (within.sha256, within.metadata)


@pytest.mark.slow
def test_it_is_the_same_file_as_with_the_data(options, run, tmp_path):
    with_data = tmp_path / "with"
    data = write_set(tmp_path / "pets", shape=(8, 8, 3))
    name = {**DIGITS, "name": f"folder:{data}", "class_names": ["cat", "dog"]}
    name |= {"image_shape": [8, 8, 3], "mean": [0.3] * 3, "std": [0.4] * 3}
    net = save_run(with_data / "pets", data=name, shape=(8, 8, 3), classes=2, **SMALL)
    flags = f"--run={net}", "--accuracy_images=8"
    one = SCRIPTS["tflite"](options("tflite", *flags)).read_bytes()
    card = card_of(tmp_path / "out" / "rk4-1.tflite")
    assert "accuracy, Keras" in card and "not the data that the net was trained" in card
    shutil.move(data, tmp_path / "elsewhere")
    other = SCRIPTS["tflite"](options("tflite", *flags)).read_bytes()
    assert "same label" in card_of(tmp_path / "out" / "rk4-1.tflite")
    assert one == other
    moved = f"--data_dir={tmp_path / 'elsewhere'}"
    SCRIPTS["tflite"](options("tflite", *flags, moved))
    assert "accuracy, Keras" in card_of(tmp_path / "out" / "rk4-1.tflite")


def test_given_images_take_the_place_of_the_data(options, tmp_path, capsys):
    for i in range(3):
        write_image(tmp_path / "images" / f"{i}.png", i, (20, 10, 3))
    given = f"--images={tmp_path / 'images'}"
    path = SCRIPTS["onnx"](options("onnx", given))
    told = capsys.readouterr()
    assert "note: " not in told.err
    for text in (told.out, card_of(path)):
        assert (
            "No accuracy was measured: exports were compared with Keras on given"
            in text
        )
        assert re.search(r"\| +3 \| +1.0000 \|", text)


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_integers_are_learned_from_given_images(options, tmp_path, form):
    for i in range(120):
        write_image(tmp_path / "images" / f"{i:03}.png", i, (8, 8, 1))
    given = [f"--images={tmp_path / 'images'}", "--precision=int8"]
    given += ["--calibration_images=100"]
    job = Job.read(options(form, *given), FORMATS[form])
    assert job.recipe.samples.shape == (100, 8, 8, 1)
    assert len(job.images) == 120 and job.labels is None
    assert len(np.unique(job.recipe.samples, axis=0)) == 100


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--precision=int8"], "--precision: .*Received 'int8', but .*give --images="),
        (["--recalibrate=2"], "--recalibrate: .*Received 2, but .*give --data_dir"),
        (["--recalibrate=2", "--images=x"], "--recalibrate: expected 0 with --images"),
        (["--images=/no/such"], "images: expected a folder of images"),
        (["--data_dir=/no/such"], "data_dir: expected an existing folder of images"),
    ],
)
def test_what_needs_the_data_says_what_to_give(options, tmp_path, arguments, message):
    with pytest.raises((OptionError, DataError), match=message) as error:
        SCRIPTS["tflite"](options("tflite", *arguments))
    assert "\n" not in str(error.value)
    assert not files(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("given", ["images", "nothing", "model"])
def test_a_report_without_the_data_tells_labels_and_no_accuracy(
    run, tmp_path, capsys, monkeypatch, given
):
    monkeypatch.setattr(survey, "measure", lambda *_: Cost(1e-3, 1e-3, 2e-3, 1))
    flags = [f"--output={tmp_path / 'out'}", "--accuracy_images=40"]
    flags += ["--manifestations=euler:3", "--formats=tflite", "--budget_ms=2"]
    if given == "images":
        for i in range(3):
            write_image(tmp_path / "images" / f"{i}.png", i, (8, 8, 1))
        flags += [f"--images={tmp_path / 'images'}"]
    if given == "model":
        checkpoint.load(run / "net").net.save(tmp_path / "net.keras")
        flags += [f"--model={tmp_path / 'net.keras'}"]
    else:
        flags += [f"--run={run}"]
    rows = report.main(parse(flags, report.Options))
    told = capsys.readouterr().out
    card = (tmp_path / "out" / "report" / "report.md").read_text()
    for text in (told, card):
        assert "No accuracy was measured: " in text
        assert "int8: left out, as there are too few images to learn from" in text
    assert "same label as the net as trained, %" in card and "accuracy, %" not in card
    assert "Best within the budget: rk4-1 tflite" in told
    names = [(row["manifestation"], row["precision"]) for row in rows]
    assert ("euler-3", "dynamic") in names and not any("int8" in x for x in names)
    for row in rows:
        assert row["accuracy_percent"] is row["keras_accuracy_percent"] is None
        assert row["images"] == (3 if given == "images" else 40)
    # Of the net as trained, so that manifestations are compared with one another.
    assert rows[0]["same_label_percent"] == rows[0]["keras_same_label_percent"] == 100
    text = (tmp_path / "out" / "report" / "report.csv").read_text()
    assert text.splitlines()[1].startswith("rk4-1,tflite,float32,,,100.0,100.0,")


def test_a_report_asked_for_int8_without_images_is_refused(run, tmp_path):
    flags = [f"--run={run}", f"--output={tmp_path}", "--precisions=float32,int8"]
    with pytest.raises(OptionError, match="--precisions: .*'int8', but .*--images="):
        report.main(parse(flags, report.Options))
    assert not os.listdir(tmp_path)


def test_data_that_are_there_but_others_are_refused(options, tmp_path):
    write_set(tmp_path / "pets", classes=("cat", "dog"))
    with pytest.raises(DataError, match="with the classes of the net"):
        SCRIPTS["tflite"](options("tflite", f"--data_dir={tmp_path}"))
