"""Text of strangers comes out of every format as that text, and as nothing else."""

import csv
import io
import re
import subprocess

import pytest

from cnet_tf import escaping
from cnet_tf.checkpoint import CheckpointError
from cnet_tf.line_error import LineError
from trainers.data.errors import DataError
from trainers.errors import OptionError

NASTY = [
    "a\nb",
    "a\r\nb",
    "\x1b[31mred\x1b[0m",
    "\x9b31m",
    "\x07\x00\x7f",
    "a\u2028b\u2029c\x85d",
    "\u202egpj.exe",
    "\ud800",
    "<script>alert(1)</script>",
    "`code` ``` ``",
    "| a | b |",
    "[x](http://evil) ![x](y) http://evil www.evil @you",
    "*bold* _it_ __b__ ~~s~~ $x$ &lt;",
    "$\\frac{",
    "=cmd|' /C calc'!A0",
    '"\\',
    "it's",
    "../../../etc/passwd",
    "-rf",
    "_hidden",
    "",
    "x" * 100_000,
]
PLAIN = [
    "euler_2",
    "rk4-2",
    "resnet20",
    "Käfer",
    "犬",
    "0.5 points, 3 %",
    "a b",
    "-0.5",
]
texts = pytest.mark.parametrize("text", NASTY, ids=lambda text: ascii(text[:20]))


@texts
def test_a_line_is_one_line_that_moves_no_cursor(text):
    found = escaping.line(text)
    assert escaping.is_plain(found) and len(found) < 1100
    assert found.splitlines() in ([found], [])
    found.encode()


@texts
@pytest.mark.parametrize("kind", [LineError, CheckpointError, DataError, OptionError])
def test_errors_are_lines_whatever_was_received(text, kind):
    assert escaping.is_plain(str(kind(f"expected x. Received {text}")))


@texts
def test_markdown_shows_the_text(text):
    """No character that means something to Markdown or HTML is left bare."""
    found = escaping.markdown(text)
    assert escaping.is_plain(found)
    bare = re.sub(r"\\.|&(amp|lt|gt|#\d+);", "", found)
    assert not re.search(r"[<>&`*|~$\[\]]|://|www\.|@", bare)
    assert not re.search(r"(?<![^\W_])_|_(?![^\W_])", bare)


@texts
def test_code_ends_where_the_text_ends(text):
    found = escaping.code(text)
    assert escaping.is_plain(found)
    fence = re.match("`+", found).group()
    inner = found[len(fence) : -len(fence)]
    assert found.endswith(fence) and fence not in re.findall("`+", inner)


@texts
def test_a_block_of_code_ends_where_the_text_ends(text):
    first, *inner, last = escaping.code_block(f"a\n{text}\nb", "sh").split("\n")
    fence = first.removesuffix("sh")
    assert last == fence and set(fence) == {"`"}
    assert all(fence not in line and escaping.is_plain(line) for line in inner)


@texts
def test_a_cell_is_no_formula_and_one_cell(text):
    file = io.StringIO()
    csv.writer(file).writerow([escaping.cell(text), "next"])
    ((found, following),) = csv.reader(io.StringIO(file.getvalue()))
    assert following == "next" and not found.startswith(tuple("=+-@\t\r"))
    assert escaping.cell(-0.5) == -0.5


def test_a_file_of_names_has_a_line_a_name():
    found = escaping.lines(NASTY)
    assert found.endswith("\n") and len(found[:-1].split("\n")) == len(NASTY)
    assert len(found.splitlines()) == len(NASTY)
    found.encode()


@texts
def test_a_file_name_stays_in_its_folder(text):
    found = escaping.file_name(text)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", found)


@texts
def test_a_word_of_a_shell_is_that_word(text):
    word = escaping.shell(text)
    assert escaping.is_plain(word)
    if {"\0", "\ud800"} & {*text} or len(text) > 1000:
        return  # No word of a command line.
    done = subprocess.run(
        ["bash", "-c", f"printf %s {word}"],
        capture_output=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    assert done.stdout.decode() == text


@texts
def test_a_picture_is_drawn(text):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure()
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([0], label=escaping.plot(text))
    axes.legend()
    canvas.draw()


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_stays_as_it_is(text):
    assert escaping.line(text) == text
    assert escaping.markdown(text) == text
    assert escaping.code(text) == f"`{text}`"
    assert escaping.lines([text]) == f"{text}\n"
