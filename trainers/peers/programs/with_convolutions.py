"""The convolutions of our nets and their gradients, and nothing else of a step.

Norms, activations, sums, losses and updates are left out. Tensors of equal shape are
one tensor, so that caches are as warm as can be. No program that calls these kernels
can train faster than this.
"""

import functools

import turns
from with_cnet_tf import net_of  # First: it switches oneDNN on.

# isort: split
import tensorflow as tf
from keras_nets import operations, size
from with_keras import sgemm


@functools.cache
def noise(shape):
    """Returns the one tensor of this shape."""
    return tf.random.normal(shape)


def forward(op):
    x, kernel = (noise(tuple(tensor.shape)) for tensor in op.inputs)
    return tf.raw_ops.Conv2D(input=x, filter=kernel, **_settings(op))


def backward(op, first):
    """Yields the gradients of the kernel and, except for the images, of the input."""
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
    return {name: op.get_attr(name) for name in names}


def in_turns(calls):
    """Runs the operations of all calls, one after the other.

    Returns the sum of the first number of each, as TensorFlow drops an operation whose
    result is never read.
    """
    numbers = []
    for call in calls:
        with tf.control_dependencies(numbers[-1:]):
            numbers.append(call()[0, 0, 0, 0])
    return tf.add_n(numbers)


def make(session):
    job = session.job
    net = net_of(job)
    found = [op for op in operations(net, job.batch) if op.type == "Conv2D"]
    calls = [functools.partial(forward, op) for op in found]
    for op in reversed(found):
        calls += backward(op, first=op is found[0])
    for op in found:
        for tensor in (*op.inputs, *op.outputs):
            noise(tuple(tensor.shape))  # Created outside the graph.
    step = tf.function(lambda: in_turns(calls))
    session.answers |= {"sgemm": sgemm(), "size": lambda: size(net)}
    return lambda: step().numpy()


if __name__ == "__main__":
    turns.serve(make)
