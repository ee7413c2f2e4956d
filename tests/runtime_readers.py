"""How an export is run: by an interpreter of another environment, or in a browser.

Either gives arrays by `<signature>/<batch>/<output>`, as `foreign_readers.main` does.
"""

import dataclasses
import pathlib
import shutil
import subprocess

import browser
import numpy as np
from environments import npm_package
from foreign_readers import SIGNATURE

from export import web_runtime

HERE = pathlib.Path(__file__).resolve().parent
LITERT_JS = "2.5.3"


class Refused(Exception):
    """A runtime does not take an artefact. The message is a line."""


def in_process(reader, python, folder, path, images, batches) -> dict:
    """Runs a reader of `foreign_readers` with an interpreter.

    Args:
        reader: A key of `foreign_readers.READERS`.
        python: The interpreter.
        folder: For files between the processes.
        path: Of the artefact.
        images: What it takes.
        batches: Numbers of images at a time.

    Raises:
        Refused: it does not take the artefact.
    """
    np.save(folder / "images.npy", images)
    result = folder / "result.npz"
    result.unlink(missing_ok=True)
    words = ",".join(map(str, batches))
    arguments = [reader, path, folder / "images.npy", words, result]
    done = subprocess.run(
        [python, HERE / "foreign_readers.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        raise Refused(_reason(done.stderr) or f"exit code {done.returncode}")
    with np.load(result) as found:
        return dict(found)


def _reason(text: str) -> str:
    """The line of an output that says why."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [x for x in lines if "Error" in x or "error:" in x or "expected" in x]
    return (errors or lines or [""])[-1][:300]


# Waits for the module of the page.
_RUN = """
const [name, pixels, shape, array, done] = arguments;
const run = () => window[name]("artefact", pixels, shape, array).then(
  (outputs) => done([outputs, ""]),
  (error) => done([null, String(error?.message ?? error)]),
);
const wait = () => (window[name] ? run() : setTimeout(wait, 50));
wait();
"""
_ARRAYS = {"uint8": "Uint8Array", "float32": "Float32Array"}


@dataclasses.dataclass
class InBrowser:
    """A runtime of `runtime_page.html`, which knows no signatures.

    Attributes:
        function: Of that page.
    """

    function: str

    def __call__(self, driver, folder, path, images, batches) -> dict:
        """Runs an artefact.

        Args:
            driver: From `browser.chromium`.
            folder: From `browser_folder`.
            path: Of the artefact.
            images: What it takes.
            batches: Numbers of images at a time.

        Raises:
            Refused: the runtime does not take it.
        """
        found = {}
        shutil.copyfile(path, folder / "artefact")
        with browser.served(folder) as url:
            driver.get(url)
            for batch in batches:
                part = images[:batch]
                outputs, error = driver.execute_async_script(
                    *(_RUN, self.function, part.ravel().tolist(), list(part.shape)),
                    _ARRAYS[part.dtype.name],
                )
                if error:
                    raise Refused(" ".join(error.split())[:300])
                for name, shape, values in outputs:
                    array = np.array(values, "float32").reshape(shape)
                    found[f"{SIGNATURE}/{batch}/{name}"] = array
        return found


def browser_folder(build: pathlib.Path) -> pathlib.Path:
    """A folder, in another, with the page and the packages of npm that it runs."""
    folder = build / "browser"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(HERE / "runtime_page.html", folder / "index.html")
    web_runtime.copy(web_runtime.find(None), folder / "onnxruntime")
    litert, utils = (
        npm_package(build, f"@litertjs/{name}@{LITERT_JS}")
        for name in ("core", "wasm-utils")
    )
    (folder / "litert").symlink_to(litert)
    (folder / "utils").symlink_to(utils / "dist")
    return folder
