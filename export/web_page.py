"""A folder that shows a net in a browser: page, graphs, samples and their data.

index.html, page.css, page.js, chart.js    copied from export/page/
net.json                                   labels, costs and scores by manifestation
serving_default.onnx .., weights.bin       see `formats.web`
samples/, onnxruntime/, model_card.md
"""

import json
import pathlib
import shutil

import numpy as np
import tensorflow as tf

from cnet_tf.surgery import blocks_of
from export import graph_cost, pareto, parity, serving, staging, web_runtime
from export.description import public_name
from export.formats.web import WEIGHTS
from export.job import Job
from export.runtimes import SIGNATURE
from trainers.errors import OptionError

_ASSETS = pathlib.Path(__file__).with_name("page")
# Files that every page has, by which it is recognised.
MARKS = ("index.html", "net.json")
# Channel counts that a browser's images can be converted to.
CHANNELS = (1, 3)
# Default schemes of a page, each with a quarter, half and all of the steps of the net.
_SCHEMES = ("euler", "midpoint", "rk4")
_SHARES = (4, 2, 1)


def manifestations(net, wanted=None) -> tuple:
    """Returns those to show besides the net's own, which always comes first.

    Args:
        net: The net as exported.
        wanted: Pairs (scheme, steps). Default: three schemes with up to three step
            counts each; none if the depth of the net is fixed.
    """
    own = [(block.scheme, block.steps) for block in blocks_of(net)]
    if wanted is None:
        most = max((steps for _, steps in own), default=0)
        counts = dict.fromkeys(max(1, most // share) for share in _SHARES)
        wanted = [(scheme, n) for scheme in _SCHEMES for n in counts] if own else []
    return tuple(pair for pair in wanted if set(own) != {pair})


def check(job: Job) -> None:
    """Raises OptionError unless a browser can produce images for the net."""
    *_, channels = job.source.data["image_shape"]
    if channels not in CHANNELS:
        raise OptionError(
            "--run, --model: expected a net of images with "
            f"{' or '.join(map(str, CHANNELS))} channels, as browsers have. "
            f"Received one with {channels}: write your own page around the ONNX graph "
            "of export/onnx_graph.py."
        )


def finish(
    path: pathlib.Path, job: Job, card: str, runtime: pathlib.Path, samples: int
):
    """Turns a folder of graphs into a page.

    Args:
        path: What `formats.web` built, within its gate.
        job: Job of the graphs.
        card: Their model card.
        runtime: From `web_runtime.find`.
        samples: Maximum number of images to offer.
    """
    found = describe(path, job)
    chosen = _first_of_each_class(job, samples)
    names = job.source.data["class_names"]
    found["samples"] = [
        {
            "file": f"samples/{i}.png",
            "label": None if job.labels is None else names[job.labels[i]],
        }
        for i in chosen
    ]
    web_runtime.copy(runtime, path / "onnxruntime")
    with staging.writing(tf.errors.OpError):
        (path / "samples").mkdir()
        for i in chosen:
            tf.io.write_file(
                str(path / "samples" / f"{i}.png"), tf.io.encode_png(job.images[i])
            )
        for asset in _ASSETS.iterdir():
            shutil.copyfile(asset, path / asset.name)
        (path / "model_card.md").write_text(card, encoding="utf-8")
        text = json.dumps(found, indent=1, ensure_ascii=False)
        (path / "net.json").write_text(f"{text}\n", encoding="utf-8")


def describe(path: pathlib.Path, job: Job) -> dict:
    """Returns the data of a page: one entry per manifestation, the cheapest first.

    Scores are accuracies or, if images have no labels, how often the label of the
    first manifestation is given.
    """
    source, form = job.source, job.form
    feed = serving.feeder(source.data, job.recipe.kind)
    calls = form.reload(path)

    def votes(signature):
        # In parts, as the states of all images at once may exceed memory.
        parts = map(feed, parity.split(job.images))
        return np.concatenate([calls[signature](part)["label"] for part in parts])

    truth = votes(SIGNATURE) if job.labels is None else job.labels
    rows = []
    for signature, net in source.nets.items():
        right = votes(signature) == truth
        blocks = blocks_of(net)
        rows.append(
            {
                "file": f"{signature}.onnx",
                "scheme": _each([block.scheme for block in blocks]),
                "steps": _each([str(block.steps) for block in blocks]),
                "trained": signature == SIGNATURE,
                "macs": _macs(net, job.images.shape[1:]),
                "score": round(100 * float(np.mean(right)), 4),
            }
        )
    kind = "unlabelled" if job.labels is None else "test"
    best = pareto.front(rows, "macs", "score")
    for row in rows:
        row["front"] = any(row is other for other in best)
    rows.sort(key=lambda row: (row["macs"], row["score"]))
    return {
        "data": None if source.knows_no_data else public_name(source.data["name"]),
        "labels": list(source.data["class_names"]),
        "image_shape": list(source.data["image_shape"]),
        "weights": WEIGHTS if (path / WEIGHTS).stat().st_size else None,
        "bytes": staging.size_on_disk(path),
        "images": f"{len(job.images):,} {kind} images",
        "score_name": "accuracy"
        if job.labels is not None
        else "same label as the exported net",
        "manifestations": rows,
    }


def _macs(net, image_shape) -> int:
    """Counts the multiply-accumulates over which a page plots scores.

    Raises:
        OptionError: they cannot be counted.
    """
    found = graph_cost.macs(net, image_shape)
    if found is None:
        raise OptionError(
            "--run, --model: expected a net whose multiply-adds can be counted, as a "
            "page plots accuracy over them. Received one with loops: use another "
            "format."
        )
    return found


def _each(words) -> str:
    """Returns one word, or one per block if they differ."""
    return ", ".join(words[:1] if len(set(words)) == 1 else words)


def _first_of_each_class(job: Job, most: int) -> list[int]:
    """Returns image numbers: the first of each class or, without labels, of all."""
    if job.labels is None:
        return list(range(min(most, len(job.images))))
    _, first = np.unique(job.labels, return_index=True)
    return first[:most].tolist()
