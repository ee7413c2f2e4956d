"""Describes an artefact as plain data, for its metadata and its model card."""

import pathlib

import keras

from cnet_tf.surgery import blocks_of
from export.calibration import sha256
from export.serving import INPUTS, OUTPUTS
from export.source import Source
from trainers.data.folder import PREFIX


def describe(
    source: Source,
    kind: str,
    precision: str = "float32",
    calibration=None,
    outputs: tuple[str, ...] = tuple(OUTPUTS),
    batch: int | None = None,
) -> dict:
    """Describes net, manifestations, input and labels, without times or paths.

    Args:
        source: What was exported.
        kind: A key of `INPUTS`.
        precision: Precision of the artefact. Default `"float32"`.
        calibration: uint8 images used to learn integer ranges, or None.
        outputs: Its outputs, in order. Default: all.
        batch: Its fixed batch size. Default: any.

    Returns:
        A dict of JSON types, the same for the same net.
    """
    data = source.data
    found = {
        "architecture": source.net.name,
        "parameters": source.net.count_params(),
        "weights_sha256": source.sha256,
        "run": source.path.resolve().name,
        "changes": list(source.changes),
        "folded": source.graphs is not source.nets,
        "precision": precision,
        "signatures": {
            signature: manifestation(net) for signature, net in source.nets.items()
        },
        "data": public_name(data["name"]),
        "labels": list(data["class_names"]),
        "image_shape": list(data["image_shape"]),
        "input": kind,
        "input_text": INPUTS[kind].text,
        "outputs": list(outputs),
        "batch": batch,
        "normalization": {key: list(data[key]) for key in ("mean", "std")},
    }
    if calibration is not None:
        found["calibration"] = {
            "images": len(calibration),
            "sha256": sha256(calibration),
        }
    return found


def public_name(name: str) -> str:
    """Returns the name of a data set without its parent folders."""
    path = name.removeprefix(PREFIX)
    return name if path == name else PREFIX + pathlib.PurePath(path).name


def manifestation(net: keras.Model) -> dict:
    """Returns schemes, steps and bases of a net's blocks; empty without blocks."""
    blocks = blocks_of(net)
    if not blocks:
        return {}
    return {
        "scheme": _alike([block.scheme for block in blocks]),
        "steps": [block.steps for block in blocks],
        "basis": _alike([block.basis.key[0] for block in blocks]),
        "basis_size": [block.nodes for block in blocks],
    }


def _alike(names):
    """Returns the common name, or all names if they differ."""
    return names[0] if len(set(names)) == 1 else names
