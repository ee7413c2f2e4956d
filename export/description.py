"""Describes an artefact in plain data, for its metadata and its model card."""

from cnet_tf.net import Net
from export.calibration import sha256
from export.serving import INPUTS
from export.source import Source


def describe(
    source: Source, kind: str, precision: str = "float32", calibration=None
) -> dict:
    """The net, its manifestations, its input and its labels, without times or paths.

    Args:
        source: What was exported.
        kind: A key of `INPUTS`.
        precision: Of the artefact. Default `"float32"`.
        calibration: uint8 images used to learn integer ranges, or None.

    Returns:
        A dict of JSON types, the same for the same net.
    """
    data = source.data
    found = {
        "architecture": type(source.net).__name__,
        "parameters": source.net.count_params(),
        "weights_sha256": source.sha256,
        "run": source.run.resolve().name,
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
        "normalization": {key: list(data[key]) for key in ("mean", "std")},
    }
    if calibration is not None:
        found["calibration"] = {
            "images": len(calibration),
            "sha256": sha256(calibration),
        }
    return found


def manifestation(net: Net) -> dict:
    """Scheme, steps and basis of a net; empty for one whose depth is fixed."""
    if not net.blocks:
        return {}
    config = net.get_config()
    return {
        "scheme": config["scheme"],
        "steps": list(config["steps"]),
        "basis": config["basis"],
        "basis_size": list(config["nodes"]),
    }
