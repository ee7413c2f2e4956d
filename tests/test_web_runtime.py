"""ONNX Runtime Web for a page: found, or refused in a line."""

import hashlib
import io
import tarfile

import pytest
from web_pages import empty_package

from export import web_runtime
from trainers.errors import OptionError


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
    assert "whose content differs: remove it" in refusal(str(tmp_path / "other.tgz"))


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


def test_npm_fills_the_cache_once(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    package = empty_package(tmp_path / "package")
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
