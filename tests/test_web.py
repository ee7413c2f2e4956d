"""The page of export/web.py: whole and right."""

import dataclasses
import json
import re
import types

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from trained_run import DIGITS, copy_of_keras, files, parse, pixels, stand_in
from web_pages import FEW, NETS, ONE, SEVERAL, empty_package, export_page

import cnet_tf
from export import serving, web, web_page
from export.formats.web import FORMAT, WEIGHTS
from export.parity import ParityError
from trainers import data
from trainers.errors import OptionError


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return empty_package(tmp_path_factory.mktemp("node_modules"))


@pytest.fixture(scope="module")
def page(runs, digits_dir, tmp_path_factory, package):
    """The page of the small run."""
    output = tmp_path_factory.mktemp("exports")
    return export_page(runs["small"], digits_dir, output, package, SEVERAL)


@pytest.fixture(scope="module")
def shown(page):
    return json.loads((page / "net.json").read_text())


@pytest.mark.slow
def test_a_page_is_whole(page, shown):
    assert page.name == "web" and [path.name for path in page.parent.iterdir()] == [
        "web"
    ]
    assets = {path.name for path in web_page._ASSETS.iterdir()}
    graphs = {f"{name}.onnx" for name in NETS}
    more = {"net.json", "weights.bin", "model_card.md", "samples", "onnxruntime"}
    assert {path.name for path in page.iterdir()} == assets | graphs | more
    runtime = {"ort.js", "ort.wasm", "LICENSE.txt"}
    assert {path.name for path in (page / "onnxruntime").iterdir()} == runtime
    assert len(shown["samples"]) == 10
    for sample in shown["samples"]:
        image = tf.io.decode_png((page / sample["file"]).read_bytes())
        assert image.shape == (8, 8, 1)
    assert sorted(sample["label"] for sample in shown["samples"]) == shown["labels"]
    card = (page / "model_card.md").read_text()
    assert "# web" in card and "midpoint-2" in card and "$" not in card


def test_nothing_is_fetched_from_elsewhere():
    for path in web_page._ASSETS.iterdir():
        found = re.findall(r"https?://[^\s\"'`]+|(?:src|href)=\"//", path.read_text())
        assert set(found) <= {"http://www.w3.org/2000/svg"}, path


def test_the_cheapest_comes_first_and_the_front_is_one(shown):
    rows = shown["manifestations"]
    assert [row["macs"] for row in rows] == sorted(row["macs"] for row in rows)
    assert {row["file"] for row in rows} == {f"{name}.onnx" for name in NETS}
    (first,) = [row for row in rows if row["trained"]]
    assert (first["scheme"], first["steps"]) == ("rk4", "1")
    for row in rows:
        beaten = any(
            other["macs"] <= row["macs"] and other["score"] > row["score"]
            for other in rows
        )
        assert not (beaten and row["front"])
    assert rows[0]["front"] and shown["score_name"] == "accuracy"
    assert shown["images"] == "100 test images"


@pytest.mark.slow
def test_every_graph_reads_its_weights_beside_it(page, runs):
    calls = FORMAT.reload(page)
    assert calls.keys() == NETS.keys()
    for signature, call in calls.items():
        net = copy_of_keras(runs["small"], *NETS[signature])
        expected = serving.keras_logits(net, DIGITS)(pixels(7))
        found = call(pixels(7))["logits"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_equal_weights_are_stored_once(page):
    lengths = []
    for path in page.glob("*.onnx"):
        onnx.checker.check_model(str(path), full_check=True)
        graph = onnx.load(str(path), load_external_data=False).graph
        for tensor in graph.initializer:
            place = {entry.key: entry.value for entry in tensor.external_data}
            if place:
                assert place["location"] == WEIGHTS and not tensor.raw_data
                lengths.append(int(place["length"]))
    stored = (page / WEIGHTS).stat().st_size
    assert max(lengths) <= stored < 0.7 * sum(lengths)


def test_scores_of_the_page_are_those_of_keras(shown, runs, digits_dir):
    images, labels = web_images(digits_dir)
    for row in shown["manifestations"]:
        scheme = row["scheme"], int(row["steps"])
        keras = serving.keras_logits(copy_of_keras(runs["small"], *scheme), DIGITS)
        right = np.mean(keras(images).argmax(-1) == labels)
        assert row["score"] == pytest.approx(100 * right)


def web_images(digits_dir, count=100):
    test = data.load("digits", digits_dir).test
    batch = next(test.take(count).batch(count).as_numpy_iterator())
    return batch["image"], batch["label"]


def test_a_page_that_does_not_agree_leaves_the_one_before(
    page, runs, digits_dir, package, monkeypatch
):
    before = files(page.parent)
    wrong = dict.fromkeys(NETS, stand_in()["serving_default"])
    monkeypatch.setattr(
        web, "FORMAT", dataclasses.replace(FORMAT, reload=lambda *_: wrong)
    )
    with pytest.raises(ParityError):
        export_page(runs["small"], digits_dir, page.parent, package, ONE)
    assert files(page.parent) == before


@pytest.mark.slow
def test_an_earlier_page_is_replaced_as_a_whole(runs, digits_dir, package, tmp_path):
    for name in (*web_page.MARKS, "old.onnx"):
        (tmp_path / "web").mkdir(exist_ok=True)
        (tmp_path / "web" / name).touch()
    page = export_page(runs["small"], digits_dir, tmp_path, package, ONE, "--samples=1")
    assert not (page / "old.onnx").exists() and len(list(tmp_path.iterdir())) == 1
    found = json.loads((page / "net.json").read_text())
    assert len(found["samples"]) == 1


@pytest.mark.parametrize("there", ["file", "notes", "link"])
def test_what_is_no_page_is_never_replaced(there, tmp_path):
    """Before any work: the run does not exist."""
    target = tmp_path / "web"
    if there == "notes":
        target.mkdir()
        (target / "notes.txt").write_text("mine")
    elif there == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path / "elsewhere")
    before = files(tmp_path)
    with pytest.raises(OptionError, match="^--output: .* has no index.html and net"):
        web.main(parse(["--run=/nowhere", f"--output={tmp_path}"], web.Options))
    assert files(tmp_path) == before


def test_manifestations_that_are_shown_unless_others_are_asked_for():
    net = cnet_tf.continuous_net("digits")
    grown = cnet_tf.manifest(net, "rk4", 6)
    assert web_page.manifestations(net) == (("euler", 1), ("midpoint", 1))
    found = web_page.manifestations(grown)
    assert len(found) == 8 and ("rk4", 6) not in found
    assert {steps for _, steps in found} == {1, 3, 6}
    assert web_page.manifestations(grown, (("rk4", 6), ("euler", 2))) == (("euler", 2),)
    assert web_page.manifestations(cnet_tf.continuous_net("resnet20")) == ()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_that_a_browser_cannot_make_are_refused(channels):
    source = types.SimpleNamespace(data={"image_shape": [8, 8, channels]})
    job = types.SimpleNamespace(source=source)
    if channels in (1, 3):
        web_page.check(job)
    else:
        with pytest.raises(OptionError, match="1 or 3 channels.*Received one with"):
            web_page.check(job)


def test_a_net_without_blocks_or_labels_is_shown_too(tmp_path, package):
    """Nobody knows what is right, so the page counts agreement."""
    layers = [
        keras.layers.Conv2D(4, 3, padding="same"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3),
    ]
    model = keras.Sequential([keras.Input((6, 5, 3)), *layers])
    model.save(tmp_path / "my.keras")
    arguments = [f"--model={tmp_path / 'my.keras'}", f"--output={tmp_path / 'out'}"]
    arguments += [f"--onnxruntime_web={package}", "--labels=a,b,<b>", *FEW]
    page = web.main(parse(arguments, web.Options))
    found = json.loads((page / "net.json").read_text())
    (row,) = found["manifestations"]
    assert (row["scheme"], row["score"], row["front"]) == ("", 100.0, True)
    assert found["score_name"] == "same label as the exported net"
    assert found["labels"] == ["a", "b", "<b>"]
    assert {sample["label"] for sample in found["samples"]} == {None}
