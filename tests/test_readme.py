"""The Python of the README runs as it is printed."""

import pathlib
import re

import pytest

_README = pathlib.Path(__file__).parents[1] / "README.md"
_SNIPPETS = re.findall(r"```python\n(.*?)```", _README.read_text(), flags=re.DOTALL)


def test_there_are_snippets():
    assert len(_SNIPPETS) >= 2


@pytest.mark.parametrize("snippet", _SNIPPETS, ids=range(len(_SNIPPETS)))
def test_snippet_runs(snippet):
    exec(compile(snippet, str(_README), "exec"), {})
