"""Our nets, as `trainers/train.py` trains them."""

import pathlib
import sys

import turns

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

from trainers import onednn  # noqa: E402

onednn.switch_on()  # Before anything imports TensorFlow.

import tensorflow as tf  # noqa: E402
from keras_nets import size  # noqa: E402
from with_keras import sgemm  # noqa: E402

from cnet_tf.manifestation import manifest, unrolled  # noqa: E402
from cnet_tf.presets import continuous_net  # noqa: E402
from trainers.own_speed import training_program  # noqa: E402


def net_of(job):
    """Returns the net that a job names."""
    preset = f"cifar10_2-2-2_{job.scheme}"
    return continuous_net(preset, nodes=job.nodes, horizon=job.nodes)


def make(session):
    job = session.job
    net = net_of(job)
    if not job.unroll:
        net = manifest(net, unroll=False)
    session.answers |= {"sgemm": sgemm(), "size": lambda: size(unrolled(net))}
    images = tf.random.normal((job.batch, 32, 32, 3))
    labels = tf.random.uniform((job.batch,), maxval=turns.CLASSES, dtype=tf.int64)
    return training_program(net, False, images, labels)


if __name__ == "__main__":
    turns.serve(make)
