"""Describes an artefact in plain data, for its metadata and its model card."""

import keras

from cnet_tf.surgery import blocks_of
from export.calibration import sha256
from export.serving import INPUTS, OUTPUTS
from export.source import Source


def describe(
    source: Source,
    kind: str,
    precision: str = "float32",
    calibration=None,
    outputs: tuple[str, ...] = tuple(OUTPUTS),
    batch: int | None = None,
) -> dict:
    """The net, its manifestations, its input and its labels, without times or paths.

    Args:
        source: What was exported.
        kind: A key of `INPUTS`.
        precision: Of the artefact. Default `"float32"`.
        calibration: uint8 images used to learn integer ranges, or None.
        outputs: What it gives, in order. Default: all.
        batch: Images that it takes at a time. Default: any number.

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
        "data": data["name"],
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


def manifestation(net: keras.Model) -> dict:
    """Schemes, steps and bases of a net's blocks; empty where there are none."""
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
    """The name that all have, or all names."""
    return names[0] if len(set(names)) == 1 else names
