"""The convolutions of our nets and their gradients, and nothing else of a step.

Norms, activations, sums, losses and updates are left out, tensors of equal shape are
one tensor, so that caches are as warm as can be: no program that calls these kernels
can train faster than this.
"""

import pathlib
import sys

import turns

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

from trainers import onednn  # noqa: E402

onednn.switch_on()  # Before anything imports TensorFlow.

import functools  # noqa: E402

import tensorflow as tf  # noqa: E402
from keras_nets import size  # noqa: E402
from with_keras import sgemm  # noqa: E402

from cnet_tf.presets import continuous_net  # noqa: E402


def convolutions(net, batch):
    """The operations of the convolutions of a forward pass."""
    spec = tf.TensorSpec((batch, *net.input_shape[1:]), tf.float32)
    trace = tf.function(lambda x: net(x, training=False)).get_concrete_function(spec)
    return [op for op in trace.graph.get_operations() if op.type == "Conv2D"]


@functools.cache
def noise(shape):
    """The tensor of that shape."""
    return tf.random.normal(shape)


def forward(op):
    x, kernel = (noise(tuple(tensor.shape)) for tensor in op.inputs)
    return tf.raw_ops.Conv2D(input=x, filter=kernel, **_settings(op))


def backward(op, first):
    """Gradients of the kernel and, but for the images, of the input."""
    x, kernel = (tuple(tensor.shape) for tensor in op.inputs)
    out = noise(tuple(op.outputs[0].shape))
    settings = _settings(op)
    yield lambda: tf.raw_ops.Conv2DBackpropFilter(
        input=noise(x), filter_sizes=kernel, out_backprop=out, **settings
    )
    if not first:
        yield lambda: tf.raw_ops.Conv2DBackpropInput(
            input_sizes=x, filter=noise(kernel), out_backprop=out, **settings
        )


def _settings(op):
    names = ("strides", "padding", "data_format", "dilations")
    return {name: _plain(op.get_attr(name)) for name in names}


def _plain(value):
    return value.decode() if isinstance(value, bytes) else value


def in_turns(calls):
    """Makes the operations of all calls, one after the other.

    Returns the sum of the first number of each, as TensorFlow drops an operation whose
    result nobody reads.
    """
    numbers = []
    for call in calls:
        with tf.control_dependencies(numbers[-1:]):
            numbers.append(call()[0, 0, 0, 0])
    return tf.add_n(numbers)


def make(session):
    job = session.job
    net = continuous_net(
        f"cifar10_2-2-2_{job.scheme}", nodes=job.nodes, horizon=job.nodes
    )
    found = convolutions(net, job.batch)
    calls = [functools.partial(forward, op) for op in found]
    for op in reversed(found):
        calls += backward(op, first=op is found[0])
    for op in found:
        for tensor in (*op.inputs, *op.outputs):
            noise(tuple(tensor.shape))  # Outside of the graph.
    step = tf.function(lambda: in_turns(calls))
    session.answers |= {"sgemm": sgemm(), "size": lambda: size(net)}
    return lambda: step().numpy()


if __name__ == "__main__":
    turns.serve(make)
