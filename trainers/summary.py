"""Ends a run: saves the last net, scores it and reports."""

import math
import time

import numpy as np

from cnet_tf.escaping import line
from cnet_tf.surgery import blocks_of
from trainers import results
from trainers.flops import forward_flops


class Unusable(RuntimeError):
    """The trained net gives non-finite numbers; the message is one line."""

    exit_code = 3


def finish(training, began) -> dict:
    """Saves the last net and the summary, which marks the run as finished.

    Args:
        training: A `Training` with no epoch left.
        began: `time.perf_counter()` when `fit` began.

    Returns:
        The summary: test scores, sizes, speeds.

    Raises:
        Unusable: the test loss is non-finite; raised after everything is saved.
        Interrupted: before the end; the next start does all of this again.
    """
    plan, recorder = training.plan, training.recorder
    progress, net = training.progress, training.state.net
    if plan.options.ema:
        training.average()
    if count := plan.recalibration_batches(net):
        training.recalibrate(count)
    recorder.save_net(training.state)
    recorder.log(progress.history)
    test = training.score("test")
    summary = {
        "run": str(recorder.run) if recorder.run else None,
        **{f"test_{key}": value for key, value in test.items()},
        "test_accuracy_of_members": training.score_members("test"),
        "batch_size": plan.place.batch_size,
        "replicas": plan.place.replicas,
        "workers": plan.place.workers,
        "parameters": sum(int(np.prod(v.shape)) for v in net.trainable_variables),
        "forward_flops_per_image": forward_flops(net, plan.data.image_shape),
        "images_per_second": progress.updates
        * plan.place.batch_size
        / progress.seconds,
        "train_seconds": progress.seconds,
        "wall_seconds": time.perf_counter() - began,
        "epochs": plan.options.epochs,
        "refined": progress.refined,
        "factors": progress.factors,
        "diverged": progress.diverged,
    }
    recorder.end({**summary, "history": progress.history})
    if not math.isfinite(test["loss"]):
        raise Unusable(
            f"--horizon: expected a net whose test loss is finite. Received "
            f"{test['loss']:g}{_depth(net)}: its states overflow, so it is "
            f"unusable. It is kept in {recorder.run or 'the run'}: lower --horizon "
            "or --learning_rate, or choose other --steps."
        )
    return summary


def _depth(net) -> str:
    """Describes the manifestation of a net; empty for a net without blocks."""
    if not (blocks := blocks_of(net)):
        return ""
    block = blocks[0]
    return f" from {block.scheme} with N = {block.steps}, horizon {block.horizon:g}"


def report(summary: dict) -> str:
    """Formats the summary of `fit` as a few lines of text."""
    rows = [
        ("test accuracy", results.percent(summary["test_accuracy"], " %")),
        *(
            (f"test accuracy, {name}", results.percent(accuracy, " %"))
            for name, accuracy in summary["test_accuracy_of_members"].items()
        ),
        ("test loss", f"{summary['test_loss']:.4f}"),
        ("trainable parameters", f"{summary['parameters']:,}"),
        *(
            [("FLOPs per image, forward", f"{flops:,}")]
            if (flops := summary["forward_flops_per_image"]) is not None
            else []
        ),
        ("images per update", _batch(summary)),
        ("images/s, training", f"{summary['images_per_second']:,.0f}"),
        ("minutes, training", f"{summary['train_seconds'] / 60:.1f}"),
        ("minutes, this process", f"{summary['wall_seconds'] / 60:.1f}"),
    ]
    if run := summary["run"]:  # Only one worker of a cluster writes.
        run = line(run)
        rows += [
            ("net", f"{run}/net"),
            ("log", f"{run}/log.csv"),
            ("curves", f"tensorboard --logdir {run}/tensorboard"),
        ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _batch(summary):
    size, replicas = summary["batch_size"], summary["replicas"]
    return f"{size} = {size // replicas} x {replicas} replicas"
