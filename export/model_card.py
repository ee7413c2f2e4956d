"""Writes the model card in Markdown: what an artefact is, its origin and its gate.

After Mitchell et al. 2019, Model Cards for Model Reporting, arXiv 1810.03993.
"""

import json
import math
import pathlib
import string

from export.generated_images import GENERATED
from export.parity import table
from export.runtimes import SIGNATURE

_NOT_MEASURED = (
    "No accuracy was measured: a .keras file does not say what it was trained on, so "
    "the export was compared with Keras on generated images."
)
_LANGUAGES = {
    "python": "Python",
    "shell": "Shell",
    "cpp": "C++",
    "javascript": "JavaScript",
}
# Cells that differ each time the same net is exported.
_MEASURED = ("latency, 1 image (ms)",)


def card(
    file: str,
    title: str,
    usage: dict[str, str],
    description: dict,
    rows: list[dict],
    run: pathlib.Path,
    *,
    dtype: str,
    license: str,
    model: str = "cnet",
) -> str:
    """Writes a model card; equal exports have equal cards.

    Args:
        file: Name of the artefact where it is used.
        title, usage: Of its `Format`.
        description: From `describe`.
        rows: From `parity.row`, one a manifestation.
        run: The run directory; its recipe and results are quoted.
        dtype: NumPy's name of the type of `image`.
        license: Of the weights.
        model: Its name in TF Serving. Default `"cnet"`.
    """
    shape = description["image_shape"]
    names = {
        "file": file,
        "model": model,
        "signature": SIGNATURE,
        "dtype": dtype,
        "size": math.prod(shape),
        "shape": ", ".join(map(str, shape)),
        "zeros": f"[[[0] * {shape[2]}] * {shape[1]}] * {shape[0]}",
    }
    parts = [
        f"# {file}",
        f"A {title} of a {description['architecture']} {_trained(description)}, "
        "exported by cnet_tf and compared with Keras.",
        "## Input and outputs",
        _io(description, dtype),
        "## Manifestations",
        _manifestations(description["signatures"]),
        "## Agreement with Keras at the same manifestation",
        table({k: v for k, v in row.items() if k not in _MEASURED} for row in rows),
        *([_NOT_MEASURED] if description["data"] == GENERATED else []),
        "## Net",
        _net(description),
        "## Training",
        _training(run),
        "## Use",
        *(
            f"{_LANGUAGES[language]}:\n\n```{language}\n"
            f"{string.Template(text).substitute(names)}```"
            for language, text in usage.items()
        ),
        "## Licence",
        f"Weights: {license}. cnet_tf: Apache-2.0.{_data_terms(description)}",
    ]
    return "\n\n".join(parts) + "\n"


def _trained(description) -> str:
    if description["data"] == GENERATED:
        return f"from the file `{description['run']}`"
    return f"trained on `{description['data']}`"


def _data_terms(description) -> str:
    if description["data"] == GENERATED:
        return ""
    return f" Data set `{description['data']}`: the terms of its provider."


def _io(description, dtype) -> str:
    shape = ", ".join(map(str, description["image_shape"]))
    classes = len(description["labels"])
    normalization = description["normalization"]
    return "\n".join(
        [
            f"- `image`: {dtype} (batch, {shape}), which is NHWC, channels last; "
            f"{description['input_text']}, with "
            f"mean {_numbers(normalization['mean'])} and std "
            f"{_numbers(normalization['std'])} per channel",
            f"- `logits`, `probabilities`: (batch, {classes})",
            "- `label`: (batch,), an index into: " + ", ".join(description["labels"]),
        ]
    )


def _manifestations(signatures: dict) -> str:
    if not any(signatures.values()):
        return "One: the depth of this net is fixed."
    return table(
        {
            "signature": name,
            "scheme": _words(found["scheme"]),
            "steps N": _numbers(found["steps"]),
            "basis": _words(found["basis"]),
            "nodes K": _numbers(found["basis_size"]),
        }
        for name, found in signatures.items()
    )


def _net(description) -> str:
    lines = [
        f"- Parameters, statistics included: {description['parameters']:,}",
        f"- Trained weights, sha256: `{description['weights_sha256']}`",
        f"- From: `{description['run']}`",
        f"- Precision: {description['precision']}",
        "- Batch norms, step and horizon: "
        + ("folded into the kernels" if description["folded"] else "as in Keras"),
    ]
    lines += [f"- Changed: {change}" for change in description["changes"]]
    if calibration := description.get("calibration"):
        lines.append(
            f"- Calibrated on {calibration['images']} training images, sha256 "
            f"`{calibration['sha256']}`"
        )
    return "\n".join(lines)


def _training(run) -> str:
    parts = []
    summary = _json(run / "summary.json")
    if "test_accuracy" in summary:
        parts.append(
            f"Test accuracy as trained: {100 * summary['test_accuracy']:.2f} %."
        )
    environment = _json(run / "environment.json")
    if environment:
        packages = environment.get("packages", {}).items()
        versions = ", ".join(f"{name} {version}" for name, version in packages)
        parts.append(f"Code: git {environment.get('git')}; {versions}.")
    flags = run / "flags.txt"
    if flags.is_file():
        parts.append(f"Recipe:\n\n```\n{flags.read_text().strip()}\n```")
    return "\n\n".join(parts) or "Not recorded."


def _json(path) -> dict:
    """Reads a file of the run; empty if it is missing or damaged."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _words(found) -> str:
    """One word, or one a block."""
    return found if isinstance(found, str) else ", ".join(found)


def _numbers(values) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
