"""Headless Chromium, and folders served to it, on this machine alone.

    python tests/browser.py exports/<run>/web web.png

is the picture of a page in the README.
"""

import contextlib
import functools
import http.server
import shutil
import sys
import threading
import time

# Without these Chromium asks Google's hosts at every start.
_QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-quic", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--window-size=980,1280"),
    # Whatever is not on this machine does not exist.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


def missing() -> str:
    """What is not installed that a browser test needs; empty if nothing."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium: see requirements-test.txt"
    wanted = ("chromium", "chromedriver")
    absent = [name for name in wanted if not shutil.which(name)]
    return f"{' and '.join(absent)}: apt-get install chromium chromium-driver" * bool(
        absent
    )


@contextlib.contextmanager
def chromium():
    """A WebDriver of selenium."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in _QUIET:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    driver.set_script_timeout(120)
    try:
        yield driver
    finally:
        driver.quit()


class _Handler(http.server.SimpleHTTPRequestHandler):
    """A server that knows as little as one may: no type of its own for .wasm."""

    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/octet-stream",
    }

    def log_message(self, *_):
        """Says nothing."""


@contextlib.contextmanager
def served(folder):
    """The URL of a folder, on a free port."""
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def main(folder, picture):
    """Takes a picture of a page at its third cheapest choice."""
    with served(folder) as url, chromium() as driver:
        driver.get(url)
        for keys in ("", "\ue011\ue014\ue014"):  # As it opens; Home, then right.
            if keys:
                driver.find_elements("css selector", "#samples button")[8].click()
                driver.find_element("id", "budget").send_keys(keys)
            time.sleep(1)
            while driver.execute_script("return document.body.dataset.state") != "done":
                time.sleep(0.1)
        driver.execute_script("document.activeElement.blur()")
        driver.find_element("tag name", "body").screenshot(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
