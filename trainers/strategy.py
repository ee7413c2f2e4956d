"""Where training runs: one `tf.distribute` strategy per process."""

import tensorflow as tf

from trainers.errors import OptionError

# name -> devices -> strategy. The same loop drives all of them.
STRATEGIES = {
    "none": lambda devices: tf.distribute.get_strategy(),
    "mirrored": lambda devices: tf.distribute.MirroredStrategy(
        devices,
        # NCCL and its kin need GPUs; this reduction runs anywhere.
        cross_device_ops=None
        if tf.config.list_logical_devices("GPU")
        else tf.distribute.HierarchicalCopyAllReduce(),
    ),
}


def make_strategy(name, replicas=0) -> tf.distribute.Strategy:
    """The strategy of that name.

    Args:
        name: A key of `STRATEGIES`.
        replicas: Devices of a mirrored strategy. Default 0: all GPUs, or all logical
            CPUs where there are none.

    Raises:
        OptionError: unknown name, or more replicas than devices.
    """
    if name not in STRATEGIES:
        raise OptionError(
            f"--strategy: expected one of {', '.join(STRATEGIES)}. Received {name!r}."
        )
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    if replicas > len(devices):
        raise OptionError(
            f"--replicas: expected at most {len(devices)}, the {kind}s of this "
            f"machine. Received {replicas}."
        )
    return STRATEGIES[name](devices[: replicas or len(devices)])
