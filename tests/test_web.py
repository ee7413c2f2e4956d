"""The page of export/web.py: whole and right, in a browser too."""

import dataclasses
import hashlib
import io
import json
import re
import shutil
import tarfile
import types

import browser
import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from trained_run import DIGITS, copy_of_keras, files, parse, pixels, stand_in

import cnet_tf
from export import serving, web, web_page, web_runtime
from export.formats.web import FORMAT, WEIGHTS
from export.parity import ParityError
from trainers import data
from trainers.errors import OptionError

# As the pages of the fixture name them.
NETS = {
    "serving_default": ("rk4", 1),
    "euler_1": ("euler", 1),
    "midpoint_2": ("midpoint", 2),
}
FEW = ["--parity_images=20", "--accuracy_images=100"]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder like node_modules/onnxruntime-web, in which nothing runs."""
    folder = tmp_path_factory.mktemp("node_modules")
    for name, path in web_runtime.FILES.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(name)
    return folder


# That of rk4:1 is the first, so no second one.
SEVERAL = "--manifestations=euler:1,midpoint:2,rk4:1"
ONE = "--manifestations=rk4:1"


def export_page(run, data_dir, output, package, *more):
    arguments = [f"--run={run}", f"--data_dir={data_dir}", f"--output={output}", *FEW]
    runtime = [] if package is None else [f"--onnxruntime_web={package}"]
    return web.main(parse([*arguments, *runtime, *more], web.Options))


@pytest.fixture(scope="module")
def page(runs, digits_dir, tmp_path_factory, package):
    """The page of the small run."""
    output = tmp_path_factory.mktemp("exports")
    return export_page(runs["small"], digits_dir, output, package, SEVERAL)


@pytest.fixture(scope="module")
def shown(page):
    return json.loads((page / "net.json").read_text())


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
        with pytest.raises(OptionError, match="1 or 3 channels.*Received one of"):
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
    assert found["score_name"] == "same label as exported"
    assert found["labels"] == ["a", "b", "<b>"]
    assert {sample["label"] for sample in found["samples"]} == {None}


# --- ONNX Runtime Web -------------------------------------------------------------


def refusal(given):
    with pytest.raises(OptionError) as caught:
        web_runtime.find(given)
    message = str(caught.value)
    assert message.startswith("--onnxruntime_web: expected") and "\n" not in message
    return message


def test_a_package_that_is_missing_or_another(tmp_path):
    assert "does not exist: download https://" in refusal(str(tmp_path / "no.tgz"))
    assert "has no dist/ort" in refusal(str(tmp_path))
    (tmp_path / "other.tgz").write_bytes(b"other")
    assert "is something else: remove it" in refusal(str(tmp_path / "other.tgz"))


def test_without_npm_the_archive_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no npm to download it with: download https://reg" in refusal(None)
    assert not (tmp_path / "cache").exists()


def _npm(folder, script, monkeypatch):
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))


@pytest.mark.parametrize(
    "script, message",
    [
        ("echo 'npm error ENOTFOUND' >&2; exit 1", "Received 'npm error ENOTFOUND'"),
        ("exit 0", "Received 'no file'"),
    ],
)
def test_an_npm_that_fails_leaves_no_archive(tmp_path, monkeypatch, script, message):
    _npm(tmp_path, script, monkeypatch)
    assert message in refusal(None)
    assert list((tmp_path / "cache" / "cnet_tf").iterdir()) == []


def test_npm_fills_the_cache_once(tmp_path, monkeypatch, package):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for path in web_runtime.FILES.values():
            archive.add(package / path, f"package/{path}")
    (tmp_path / "made").write_bytes(content.getvalue())
    monkeypatch.setattr(
        web_runtime,
        "SHA512",
        hashlib.sha512(content.getvalue()).hexdigest(),
    )
    _npm(
        tmp_path,
        # npm pack <package>@<version> --pack-destination <folder>
        f"cp {tmp_path}/made $4/{web_runtime.cache().name}; echo >> {tmp_path}/calls",
        monkeypatch,
    )
    for name in ("first", "second"):
        web_runtime.copy(web_runtime.find(None), tmp_path / name)
        assert (tmp_path / name / "ort.wasm").read_text() == "ort.wasm"
    assert (tmp_path / "calls").read_text() == "\n"


# --- In a browser -----------------------------------------------------------------


@pytest.fixture(scope="module")
def driver():
    if lacks := browser.missing():
        pytest.skip(f"no {lacks}")
    with browser.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def real_page(runs, digits_dir, tmp_path_factory):
    """A page with the real runtime."""
    try:
        web_runtime.find(None)
    except OptionError as error:
        pytest.skip(str(error))
    output = tmp_path_factory.mktemp("exports")
    return export_page(runs["digits"], digits_dir, output, None, SEVERAL)


@pytest.fixture(scope="module")
def opened(driver, real_page):
    """The page, when it has answered for the first time."""
    with browser.served(real_page) as url:
        driver.get(url)
        wait(driver)
        yield driver, url


def until(driver, holds):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, 60).until(holds)


def wait(driver, state="done"):
    until(
        driver,
        lambda found: (
            found.execute_script("return document.body.dataset.state")
            in (state, "failed")
        ),
    )
    assert driver.find_element("id", "error").text == ""


def bars(driver) -> np.ndarray:
    """The probabilities that are shown."""
    # At once: a new answer replaces the elements.
    found = driver.execute_script(
        "return [...document.querySelectorAll('#bars .percent')]"
        ".map((bar) => bar.textContent)"
    )
    return np.array([float(text.removesuffix(" %")) for text in found]) / 100


def keras_probabilities(run, net, image):
    logits = serving.keras_logits(copy_of_keras(run, *net), DIGITS)(image[None])
    return tf.nn.softmax(logits[0]).numpy()


@pytest.mark.slow
def test_every_manifestation_answers_as_keras_does(opened, real_page, runs):
    driver, _ = opened
    found = json.loads((real_page / "net.json").read_text())
    sample = real_page / found["samples"][0]["file"]
    image = tf.io.decode_png(sample.read_bytes()).numpy()
    budget = driver.find_element("id", "budget")
    seen = []
    # A keyboard is enough: End, then to the left.
    for key in ("\ue010", *("\ue012" * (len(NETS) - 1))):
        budget.send_keys(key)
        wait(driver)
        row = found["manifestations"][int(budget.get_property("value"))]
        net = row["scheme"], int(row["steps"])
        expected = keras_probabilities(runs["digits"], net, image)
        np.testing.assert_allclose(bars(driver), expected, rtol=0, atol=2e-4)
        assert driver.find_element("id", "label").text == str(expected.argmax())
        assert row["scheme"] in driver.find_element("id", "manifestation").text
        assert row["scheme"] in budget.get_attribute("aria-valuetext")
        assert re.fullmatch(
            r"[\d.]+ ms", driver.find_element("id", "milliseconds").text
        )
        chart = driver.find_element("id", "chart")
        assert f"Chosen: {row['scheme']}" in chart.get_attribute("aria-label")
        assert len(chart.find_elements("css selector", ".point")) == len(NETS)
        seen.append(row["file"])
    assert seen == [row["file"] for row in reversed(found["manifestations"])]


@pytest.mark.slow
def test_a_file_and_a_drop_are_classified(opened, runs, tmp_path):
    driver, _ = opened
    image = pixels(3)[2]
    path = tmp_path / "own.png"
    path.write_bytes(tf.io.encode_png(image).numpy())
    budget = driver.find_element("id", "budget")
    driver.execute_script(
        "arguments[0].value = 0; arguments[0].dispatchEvent(new Event('input'))", budget
    )
    wait(driver)
    driver.find_element("id", "file").send_keys(str(path))
    expected = keras_probabilities(runs["digits"], ("euler", 1), image)

    def shows(values):
        return lambda _: np.allclose(bars(driver), values, rtol=0, atol=2e-4)

    until(driver, shows(expected))
    assert driver.find_element("id", "truth").text == ""
    # Four times as large, and in colours that are grey: the same image.
    large = np.repeat(np.repeat(image, 4, 0), 4, 1).repeat(3, 2)
    driver.execute_script(
        """
        const file = new File([new Uint8Array(arguments[0])], "drop.png");
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(file);
        document.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
        """,
        list(tf.io.encode_png(255 - large).numpy()),
    )
    inverse = keras_probabilities(runs["digits"], ("euler", 1), 255 - image)
    until(driver, shows(inverse))
    driver.find_element("id", "invert").click()
    until(driver, shows(expected))


@pytest.mark.slow
def test_what_is_no_image_is_told_in_a_line(opened, tmp_path):
    driver, _ = opened
    path = tmp_path / "notes.txt"
    path.write_text("no image")
    before = bars(driver)
    driver.find_element("id", "file").send_keys(str(path))
    until(driver, lambda d: d.find_element("id", "error").text)
    message = driver.find_element("id", "error").text
    assert message.startswith("Expected an image") and "Received notes.txt" in message
    np.testing.assert_array_equal(bars(driver), before)
    driver.find_elements("css selector", "#samples button")[3].click()
    until(driver, lambda d: not d.find_element("id", "error").text)


@pytest.mark.slow
def test_a_page_without_a_file_says_which(driver, real_page, tmp_path):
    copy = shutil.copytree(real_page, tmp_path / "copy")
    (copy / WEIGHTS).unlink()
    with browser.served(copy) as url:
        driver.get(url)
        until(driver, lambda d: d.find_element("id", "error").text)
        text = driver.find_element("id", "error").text
    assert text.startswith("weights.bin: expected a file of this folder. Received")


@pytest.mark.slow
def test_the_page_asks_its_own_server_only(driver, real_page):
    with browser.served(real_page) as url:
        driver.get_log("browser")
        driver.get(url)
        wait(driver)
        names = driver.execute_script(
            "return performance.getEntriesByType('resource').map((found) => found.name)"
        )
        severe = [x for x in driver.get_log("browser") if x["level"] == "SEVERE"]
    assert len(names) > 5 and all(name.startswith(url) for name in names)
    assert severe == []
