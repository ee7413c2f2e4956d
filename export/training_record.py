"""What a run, which may be untrusted, recorded about its training, in Markdown."""

import math
import pathlib
import re

from cnet_tf import plain_file
from cnet_tf.escaping import code_block, markdown
from trainers.trained_net import ended


def text(run: pathlib.Path) -> str:
    """Returns results, versions and recipe of a run, as far as its files record them.

    A file that is missing, damaged, too large or a link loses only its own line.
    """
    lines = (
        "" if ended(run) else "The training had not ended.",
        _accuracy(_json(run / "summary.json")),
        _versions(_json(run / "environment.json")),
        _recipe(run / "flags.txt"),
    )
    return "\n\n".join(filter(None, lines)) or "Not recorded."


def _accuracy(summary) -> str:
    found = summary.get("test_accuracy")
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return ""
    if not math.isfinite(found):
        return ""
    return f"Test accuracy as trained: {100 * found:.2f} %."


def _versions(environment) -> str:
    if not environment:
        return ""
    packages = environment.get("packages")
    packages = packages if isinstance(packages, dict) else {}
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    return markdown(f"Code: git {environment.get('git')}; {versions}.")


def _recipe(path) -> str:
    try:
        recipe = plain_file.read_text(path, 100_000)
        # A data set is named without its parent folders, as everywhere in a card.
        recipe = re.sub("folder:.*/", "folder:", recipe)
        return f"Recipe:\n\n{code_block(recipe)}"
    except plain_file.PlainFileError:
        return ""


def _json(path) -> dict:
    try:
        return plain_file.read_json(path)
    except plain_file.PlainFileError:
        return {}
