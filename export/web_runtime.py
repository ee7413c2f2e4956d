"""Finds the two files of ONNX Runtime Web that a page needs, and checks them.

They belong to the npm package onnxruntime-web, in the version that pages were tested
with. It comes from a folder or archive that the user names, the cache, or npm.
"""

import hashlib
import os
import pathlib
import shutil
import tarfile
import tempfile

from export import npm, staging
from trainers.errors import OptionError

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# Of the archive; `npm view onnxruntime-web@1.30.0 dist.integrity` prints it in base64.
SHA512 = (
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
)

# Names in the page, and paths in the package. The first file includes its loader, so
# that a page needs no third, and has a suffix that servers know as JavaScript.
FILES = {
    "ort.js": "dist/ort.wasm.bundle.min.mjs",
    "ort.wasm": "dist/ort-wasm-simd-threaded.wasm",
}
# The package has no licence text; its files and package.json name the licence.
_LICENSE = """\
ONNX Runtime Web, npm package onnxruntime-web.
Copyright (c) Microsoft Corporation. All rights reserved.
Licensed under the MIT License:
https://github.com/microsoft/onnxruntime/blob/main/LICENSE
"""
_URL = f"https://registry.npmjs.org/{PACKAGE}/-/{PACKAGE}-{VERSION}.tgz"


def cache() -> pathlib.Path:
    """Returns the path of the downloaded archive of the package."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home, "cnet_tf", f"{PACKAGE}-{VERSION}.tgz")


def find(given: str | None) -> pathlib.Path:
    """Finds the package, a folder or an archive.

    Args:
        given: `--onnxruntime_web`: its folder, as in node_modules, or its .tgz. None
            uses the cache, which npm fills if it is empty.

    Raises:
        OptionError: it is missing, is a different one, or cannot be downloaded.
    """
    if given is None:
        archive = cache()
        if not archive.is_file():
            _download(archive)
        _check(archive)
        return archive
    path = pathlib.Path(given)
    if os.path.isdir(path):
        missing = [name for name in FILES.values() if not (path / name).is_file()]
        if missing:
            raise OptionError(
                f"--onnxruntime_web: expected a folder of the npm package {PACKAGE}, "
                f"like node_modules/{PACKAGE}. Received {given!r}, which has no "
                f"{missing[0]}."
            )
    elif os.path.isfile(path):
        _check(path)
    else:
        raise OptionError(
            f"--onnxruntime_web: expected a folder or a .tgz of the npm package "
            f"{PACKAGE}. Received {given!r}, which does not exist: download {_URL}"
        )
    return path


def copy(package: pathlib.Path, folder: pathlib.Path) -> None:
    """Copies the two files from a package of `find` to a new folder.

    Raises:
        OptionError: the file system refuses.
    """
    with staging.writing():
        folder.mkdir()
        (folder / "LICENSE.txt").write_text(_LICENSE)
        if package.is_dir():
            for name, inside in FILES.items():
                shutil.copyfile(package / inside, folder / name)
            return
        with tarfile.open(package) as archive:
            for name, inside in FILES.items():
                with archive.extractfile(f"package/{inside}") as source:
                    (folder / name).write_bytes(source.read())


def _check(archive: pathlib.Path) -> None:
    found = hashlib.sha512(archive.read_bytes()).hexdigest()
    if found != SHA512:
        raise OptionError(
            f"--onnxruntime_web: expected {PACKAGE} {VERSION} as npm has it. Received "
            f"{str(archive)!r}, whose content differs: remove it, or name the "
            f"package's folder in node_modules if you want another version."
        )


def _download(archive: pathlib.Path) -> None:
    """Fills the cache through npm."""
    try:
        npm.executable()  # First, so that nothing is created without it.
        print(f"Downloading {PACKAGE} {VERSION} to {archive}, once.")
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
            os.replace(npm.pack(f"{PACKAGE}@{VERSION}", folder), archive)
    except (OSError, npm.NpmError) as error:
        raise OptionError(
            f"--onnxruntime_web: expected npm to download {PACKAGE} {VERSION} to "
            f"{str(archive)!r}. Received {error}: download {_URL} and give its path, "
            f"or that of a node_modules/{PACKAGE}."
        ) from error
