"""The page of export/web.py in headless Chromium, with the real runtime."""

import json
import pathlib
import re
import shutil

import browser
import numpy as np
import pytest
import tensorflow as tf
from trained_run import DIGITS, copy_of_keras, pixels
from web_pages import NETS, SEVERAL, export_page

from cnet_tf import pretrained
from export import serving, web_runtime
from export.formats.web import WEIGHTS
from export.run import Run
from trainers.errors import OptionError


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


def walk(driver, page, nets, data):
    """Compares all manifestations of a page with Keras, and yields the row of each.

    Args:
        driver: It shows the page.
        page: Its folder.
        nets: By signature.
        data: What a run says of it.
    """
    found = json.loads((page / "net.json").read_text())
    sample = page / found["samples"][0]["file"]
    image = tf.io.decode_png(sample.read_bytes()).numpy()
    budget = driver.find_element("id", "budget")
    # A keyboard is enough: End, then to the left.
    for key in ("\ue010", *("\ue012" * (len(nets) - 1))):
        budget.send_keys(key)
        wait(driver)
        row = found["manifestations"][int(budget.get_property("value"))]
        net = nets[pathlib.Path(row["file"]).stem]
        logits = serving.keras_logits(net, data)(image[None])[0]
        expected = tf.nn.softmax(logits).numpy()
        np.testing.assert_allclose(bars(driver), expected, rtol=0, atol=2e-4)
        label = driver.find_element("id", "label").text
        assert label == data["class_names"][expected.argmax()]
        yield row


@pytest.mark.slow
def test_every_manifestation_answers_as_keras_does(opened, real_page, runs):
    driver, _ = opened
    nets = {name: copy_of_keras(runs["digits"], *net) for name, net in NETS.items()}
    seen = []
    for row in walk(driver, real_page, nets, DIGITS):
        budget = driver.find_element("id", "budget")
        assert row["scheme"] in driver.find_element("id", "manifestation").text
        assert row["scheme"] in budget.get_attribute("aria-valuetext")
        assert re.fullmatch(
            r"[\d.]+ ms", driver.find_element("id", "milliseconds").text
        )
        chart = driver.find_element("id", "chart")
        assert f"Chosen: {row['scheme']}" in chart.get_attribute("aria-label")
        assert len(chart.find_elements("css selector", ".point")) == len(NETS)
        seen.append(row["file"])
    found = json.loads((real_page / "net.json").read_text())
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
    assert text.startswith("weights.bin: expected a file in this folder. Received")


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


@pytest.mark.slow
def test_a_page_of_the_net_that_ships_without_its_data(driver, tmp_path, monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # Nor there.
    monkeypatch.setenv("XDG_CACHE_HOME", str(web_runtime.cache().parents[1]))
    members = [("euler", 1), ("midpoint", 1)]
    source = Run(pretrained.folder_of("cifar10_any_depth")).read()
    page = export_page(
        *(source.path, None, tmp_path / "out", None),
        "--manifestations=euler:1,midpoint:1",
    )
    assert "generated images" in (page / "model_card.md").read_text()
    nets = source.manifested(others=members).nets
    with browser.served(page) as url:
        driver.get(url)
        wait(driver)
        rows = list(walk(driver, page, nets, source.data))
    assert {row["file"] for row in rows} == {f"{name}.onnx" for name in nets}
