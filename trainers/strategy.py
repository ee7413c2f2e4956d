"""Where training runs: one `tf.distribute` strategy per process."""

import json
import os

import tensorflow as tf

from trainers import cluster
from trainers.errors import OptionError


def _devices():
    """Returns the kind of device to train on, GPU or CPU, and the names of all."""
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return kind, [device.name for device in tf.config.list_logical_devices(kind)]


def _mirrored(options):
    kind, devices = _devices()
    if options.replicas > len(devices):
        raise OptionError(
            f"--replicas: expected at most {len(devices)}, the {kind}s of this "
            f"machine. Received {options.replicas}."
        )
    return tf.distribute.MirroredStrategy(
        devices[: options.replicas or len(devices)],
        # NCCL and its kin need GPUs; this reduction runs anywhere.
        cross_device_ops=None
        if kind == "GPU"
        else tf.distribute.HierarchicalCopyAllReduce(),
    )


def _multi_worker(options):
    workers, own = _check_cluster(os.environ.get("TF_CONFIG"))
    cluster.meet(workers, own, options.start_minutes)
    try:
        with cluster.limited():
            # Before anything else asks for a device: this sets up the runtime.
            return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.UnknownError as error:  # Could not start its server.
        raise cluster.in_use(own, workers[own]) from error
    except tf.errors.OpError as error:
        raise cluster.WorkerLost(
            f"the cluster did not start: {str(error).strip().partition(chr(10))[0]}"
        ) from error
    except RuntimeError as error:
        raise OptionError(
            "--strategy: expected 'multi_worker' to be the first strategy of its "
            f"process. Received: {error}"
        ) from error


def _tpu(options):
    address = options.tpu or os.environ.get("TPU_NAME")
    if not address:
        raise OptionError(
            "--tpu: expected the name or address of a TPU, 'local' on a TPU VM, or "
            "$TPU_NAME. Received none."
        )
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(address)
    except (tf.errors.OpError, ValueError, RuntimeError, OSError) as error:
        raise OptionError(
            f"--tpu: expected a TPU that answers. Received {address!r}: "
            f"{str(error).strip().partition(chr(10))[0]}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


# name -> options -> strategy. The same loop drives all of them.
STRATEGIES = {
    "none": lambda options: tf.distribute.get_strategy(),
    "one_device": lambda options: tf.distribute.OneDeviceStrategy(_devices()[1][0]),
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "tpu": _tpu,
}


def make_strategy(options) -> tf.distribute.Strategy:
    """Makes the strategy; call it before TensorFlow does anything else.

    Args:
        options: With `strategy`, a key of `STRATEGIES`, `replicas` and `tpu`.

    Raises:
        OptionError: more replicas than devices, a bad TF_CONFIG, no TPU.
    """
    return STRATEGIES[options.strategy](options)


def _check_cluster(text):
    """Rejects a TF_CONFIG that lacks the workers or the index of this one.

    Returns:
        (host:port of every process by name, the name of this one).
    """
    expected = (
        'TF_CONFIG: --strategy=multi_worker expected {"cluster": {"worker": '
        '["host:port", ..]}, "task": {"type": "worker", "index": 0}}, the same cluster '
        "for every worker. Received "
    )
    try:
        config = json.loads(text or "")
        jobs, task = config["cluster"], config["task"]
        kind, index, count = task["type"], task["index"], len(jobs[task["type"]])
        if type(index) is not int:
            raise ValueError("no index")
        complete = 0 <= index < count
        workers = {
            f"{job} {i}": place for job in jobs for i, place in enumerate(jobs[job])
        }
        if len(set(map(cluster.address, workers.values()))) < len(workers):
            raise ValueError("an address twice")
    except (ValueError, KeyError, TypeError) as error:
        raise OptionError(expected + (repr(text) if text else "none.")) from error
    if not complete:
        raise OptionError(f"{expected}task {index} of {count}.")
    if unknown := {*jobs, kind} - {"chief", "worker"}:
        raise OptionError(f"{expected}{sorted(unknown)}: only chief and worker train.")
    return workers, f"{kind} {index}"


def workers(strategy) -> int:
    """Counts the processes that train together."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    jobs = strategy.cluster_resolver.cluster_spec().as_dict()
    return sum(len(addresses) for addresses in jobs.values()) or 1


def is_chief(strategy) -> bool:
    """Whether this process writes to the disk; one process of a cluster does."""
    if workers(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    first = resolver.task_type == "worker" and resolver.task_id == 0
    return resolver.task_type == "chief" or (
        first and "chief" not in resolver.cluster_spec().jobs
    )
