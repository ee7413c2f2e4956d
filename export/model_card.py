"""Writes the model card in Markdown: what an artefact is, its origin and its gate.

After Mitchell et al. 2019, Model Cards for Model Reporting, arXiv 1810.03993.
"""

import pathlib

from cnet_tf.escaping import code, markdown
from export import snippets, training_record
from export.formats.record import Format, Tensor
from export.gate import LATENCY
from export.serving import INPUTS
from trainers import results
from trainers.data.generated import GENERATED

# Titles by info string of a code block: a language, then a word that only we read.
_LANGUAGES = {
    "python": "Python",
    "python grpc": "Python, from TF Serving over gRPC",
    "shell": "Shell",
    "cpp": "C++",
    "javascript": "JavaScript",
}


def card(
    file: str,
    form: Format,
    description: dict,
    rows: list[dict],
    run: pathlib.Path,
    tensors: dict[str, Tensor],
    *,
    license: str,
    model: str = "cnet",
    unmeasured: str = "",
    remark: str = "",
) -> str:
    """Writes a model card; equal exports have equal cards.

    Args:
        file: Name under which the artefact is used.
        form: Format of the artefact.
        description: From `describe`.
        rows: From `gate.row`, one per manifestation.
        run: The run directory; its recipe and results are quoted.
        tensors: From `Format.tensors`.
        license: Licence of the weights.
        model: Name of the model in TF Serving. Default `"cnet"`.
        unmeasured: A sentence on what could not be measured. Default: empty.
        remark: From `Format.remark`. Default: there is none.
    """
    parts = [
        f"# {markdown(file)}",
        f"Format: {form.title}. Net: {markdown(description['architecture'])}, "
        f"{_trained(description)}, "
        "exported by cnet_tf and compared with Keras.",
        "## Input and outputs",
        _io(description, tensors),
        *([remark] if remark else []),
        "## Manifestations",
        _manifestations(description["signatures"]),
        "## Agreement with Keras at the same manifestation",
        # Without latencies, which differ each time the same net is exported.
        results.table(
            {k: v for k, v in row.items() if not k.startswith(LATENCY)} for row in rows
        ),
        *([unmeasured] if unmeasured else []),
        "## Net",
        _net(description),
        "## Training",
        training_record.text(run),
        "## Use",
        *(
            f"{_LANGUAGES[language]}:\n\n```{language}\n{text}```"
            for language, text in snippets.usage(
                form, description, tensors, file, model
            ).items()
        ),
        "## Licence",
        f"Weights: {markdown(license)}. cnet_tf: Apache-2.0.{_data_terms(description)}",
    ]
    return "\n\n".join(parts) + "\n"


def _trained(description) -> str:
    if description["data"] == GENERATED:
        return f"from the file {code(description['run'])}"
    return f"trained on {code(description['data'])}"


def _data_terms(description) -> str:
    if description["data"] == GENERATED:
        return ""
    return f" Data set {code(description['data'])}: the terms of its provider."


def _io(description, tensors) -> str:
    batch = description["batch"] or "batch"
    lines = [f"- `image`: {_input(description, tensors['image'], batch)}"]
    for name in description["outputs"]:
        lines.append(_output(description, tensors[name], batch))
    if description["batch"]:
        lines.append(f"- The batch size is fixed: exactly {batch} at a time.")
    return "\n".join(lines)


def _input(description, tensor, batch) -> str:
    normalization = description["normalization"]
    shape = ", ".join(map(str, description["image_shape"]))
    if INPUTS[description["input"]].encoded:
        layout = (
            f"strings ({batch},); {description['input_text']}, here ({shape}): height, "
            "width, channels. Other sizes are refused, and the orientation that a "
            "camera recorded is ignored. Pixels are normalised in the graph"
        )
    else:
        layout = (
            f"{tensor.dtype} ({batch}, {shape}), which is NHWC, channels last; "
            f"{description['input_text']}{_integers(tensor)}"
        )
    return (
        f"{layout}, with mean {_numbers(normalization['mean'])} and std "
        f"{_numbers(normalization['std'])} per channel"
    )


def _output(description, tensor, batch) -> str:
    labels = description["labels"]
    if tensor.name == "label":
        names = ", ".join(map(markdown, labels))
        return f"- `label`: {tensor.dtype} ({batch},), an index into: {names}"
    shape = f"({batch}, {len(labels)})"
    return f"- `{tensor.name}`: {tensor.dtype} {shape}{_integers(tensor)}"


def _integers(tensor) -> str:
    """Says what the integers of a tensor mean; empty for plain numbers."""
    if not tensor.scale:
        return ""
    return (
        f", stored as integers q; the real number is scale (q - zero point), "
        f"scale {tensor.scale:.9g}, zero point {tensor.zero_point}"
    )


def _manifestations(signatures: dict) -> str:
    if not any(signatures.values()):
        return "One: the depth of this net is fixed."
    return results.table(
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
        f"- Parameters, including statistics: {description['parameters']:,}",
        f"- Trained weights, sha256: `{description['weights_sha256']}`",
        f"- From: {code(description['run'])}",
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


def _words(found) -> str:
    """Returns the one word, or one per block."""
    return found if isinstance(found, str) else ", ".join(found)


def _numbers(values) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
