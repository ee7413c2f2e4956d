"""Flag files of any editor: encodings, comments, quotes, files within files."""

import pytest

from trainers import option_table
from trainers.flag_files import FlagFileError, expanded, quoted
from trainers.options import Options

TEXT = "# A recipe.\n--epochs=7\n--name=käse\n"


def write(folder, content, name="a.flags"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file_is_read_as_editors_save_it(tmp_path, encoding, end):
    text = TEXT.replace("\n", end)
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    path = write(tmp_path, mark + text.encode(encoding))
    assert expanded([f"--flagfile={path}"]) == ["--epochs=7", "--name=käse"]


@pytest.mark.parametrize(
    ("line", "flag"),
    [
        ("--batch_size=4 # comment", "--batch_size=4"),
        ("--batch_size=4\t#comment", "--batch_size=4"),
        ("  --batch_size=4  ", "--batch_size=4"),
        ("--notensorboard # quiet", "--notensorboard"),
        ("--steps=1, 2 # two", "--steps=1, 2"),
        ("--name=a#b", "--name=a#b"),
        ("--name=#b", "--name=#b"),
        ("--refine_epochs=  # none", "--refine_epochs="),
        ('--runs_dir="/a #1"  # quoted', "--runs_dir=/a #1"),
        ('--runs_dir="a\\nb"', "--runs_dir=a\nb"),
        ('--name="half', '--name="half'),
        ("# --epochs=3", None),
        ("   # --epochs=3", None),
        ("// as absl has it", None),
        ("", None),
    ],
)
def test_comments_end_with_the_line_and_begin_behind_a_space(tmp_path, line, flag):
    path = write(tmp_path, f"{line}\n--epochs=2\n")
    assert expanded([f"--flagfile={path}"]) == [*([flag] if flag else []), "--epochs=2"]


@pytest.mark.parametrize("given", ["--flagfile={}", "-flagfile={}", "--flagfile {}"])
def test_flags_stand_where_the_file_was_named(tmp_path, given):
    inner = write(tmp_path, "--epochs=1\n--seed=3\n", "inner.flags")
    outer = write(tmp_path, f"--flagfile={inner}  # first\n--epochs=2\n")
    arguments = ["--keep=1", *given.format(outer).split(), "--epochs=4", "--", "-x"]
    assert expanded(arguments) == [
        *("--keep=1", "--epochs=1", "--seed=3", "--epochs=2"),
        *("--epochs=4", "--", "-x"),
    ]
    assert expanded(["--", f"--flagfile={outer}"])[1] == f"--flagfile={outer}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\x00\xfe", "expected a text file of flags"),
        (b"\x89PNG\r\n\x1a\n\0\0", "expected a text file of flags"),
        (b"\xff\xfe\x00", "expected a text file of flags"),
        (b"#" * 2**21, "expected a text file of flags"),
        (b"epochs=3\n", "line 1: expected a flag, --name=value. Received 'epochs=3'"),
        (b"--epochs=3\nrun\n", "line 2: expected a flag"),
        (b"--flagfile=%s\n", "expected no cycle"),
        (b"--flagfile=\n", "expected a file. Received none"),
        (b"--flagfile=/no/such\n", "'/no/such': No such file"),
    ],
)
def test_what_is_no_flag_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "a.flags"
    path.write_bytes(content.replace(b"%s", str(path).encode()))
    with pytest.raises(FlagFileError, match="--flagfile: ") as error:
        expanded([f"--flagfile={path}"])
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["", "/no/such", "."])
def test_a_file_that_cannot_be_opened_is_one_line(path):
    with pytest.raises(FlagFileError, match="--flagfile: expected a file"):
        expanded(["--flagfile", path])
    with pytest.raises(FlagFileError):
        expanded(["--flagfile"])


@pytest.mark.parametrize(
    "value",
    [
        "a",
        "a b",
        " a ",
        "a #b",
        "#a",
        'a "b"',
        '"a"',
        "a\nb",
        "a\u2028b",
        "ä",
        "\\",
    ],
)
def test_what_a_run_writes_replays(tmp_path, value):
    options = Options(runs_dir=value, dataset=value)
    path = write(tmp_path, option_table.flagfile(options))
    flags = expanded([f"--flagfile={path}"])
    assert f"--runs_dir={value}" in flags and f"--dataset={value}" in flags
    assert quoted("plain") == "plain"
