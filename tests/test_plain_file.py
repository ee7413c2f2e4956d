"""Files of strangers: read as what they have to be, or refused in a line at once."""

import os

import pytest
from hangs import fail_after

from cnet_tf import escaping, plain_file
from cnet_tf.plain_file import PlainFileError


@pytest.fixture(autouse=True)
def _hangs_are_failures():
    with fail_after(20):
        yield


def _pipe(path):
    os.mkfifo(path)


def _link(to):
    return lambda path: path.symlink_to(to)


STRANGE = {
    "a pipe": (_pipe, "expected a regular file. Received a pipe"),
    "a link to a device": (_link("/dev/zero"), "Received a link"),
    "a link to a file": (_link("/etc/hostname"), "Received a link"),
    "a link to itself": (_link("file"), "Received a link"),
    "a folder": (lambda path: path.mkdir(), "Received a folder"),
    "nothing": (lambda path: None, "No such file"),
}
READERS = {
    "bytes": plain_file.read_bytes,
    "text": plain_file.read_text,
    "json": plain_file.read_json,
    "sha256": plain_file.sha256,
}


def refused(read, path, match):
    with pytest.raises(PlainFileError, match=match) as error:
        read(path)
    message = str(error.value)
    assert "\n" not in message and escaping.line(path) in message
    return error.value


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("strange", STRANGE)
def test_what_is_no_file_is_refused(tmp_path, strange, reader):
    make, match = STRANGE[strange]
    make(tmp_path / "file")
    error = refused(READERS[reader], tmp_path / "file", match)
    assert error.missing == (strange == "nothing")


def test_a_device_is_refused_where_links_are_followed(tmp_path):
    (tmp_path / "file").symlink_to("/dev/zero")
    with pytest.raises(PlainFileError, match="Received a device"):
        plain_file.read_bytes(tmp_path / "file", follow=True)


def test_a_link_that_a_user_names_is_followed(tmp_path):
    (tmp_path / "real").write_text("cat")
    (tmp_path / "file").symlink_to("real")
    assert plain_file.read_text(tmp_path / "file", follow=True) == "cat"


def test_a_large_file_is_refused_and_takes_no_memory(tmp_path):
    with open(tmp_path / "file", "wb") as file:
        file.truncate(2**40)  # A hole: no disk is taken.
    refused(plain_file.read_json, tmp_path / "file", "expected at most 16,777,216")


def test_a_path_that_the_system_refuses(tmp_path):
    refused(plain_file.read_bytes, tmp_path / "a\0b", "not readable")
    refused(plain_file.read_bytes, tmp_path / ("a" * 300), "not readable")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"[" * 200_000, "at most 100 levels"),
        (b'{"a":' * 200_000, "at most 100 levels"),
        (b"[" * 200_000 + b"]" * 200_000, "at most 100 levels"),
        (b"[{}" + b",{}" * 400_000 + b"]", "at most 300,000 values"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not readable"),
        (b"\xff\xfe{\x00}\x00", "not readable"),
        (b'{"a": 1', "not readable"),
        (b"[1]", "expected a dict. Received a list"),
        (b"", "not readable"),
    ],
    ids=lambda value: None if isinstance(value, str) else repr(value[:12]),
)
def test_json_is_bounded_before_it_is_parsed(tmp_path, content, match):
    (tmp_path / "file").write_bytes(content)
    refused(plain_file.read_json, tmp_path / "file", match)


def test_brackets_in_texts_are_no_levels():
    text = rb'{"a": "' + rb"[\"{\\" * 200 + rb'", "b": [[1]]}'
    found = plain_file.parse_json(text, "x")
    assert found["b"] == [[1]] and found["a"].startswith('["{')
