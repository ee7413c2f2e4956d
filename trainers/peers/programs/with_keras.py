"""The nets in plain Keras layers on TensorFlow, under `fit`."""

import time

import keras
import tensorflow as tf
import turns
from keras_nets import FAMILIES, size


def sgemm():
    """Returns a function that multiplies two matrices and returns the seconds taken."""
    a, b = (tf.random.normal((turns.SIZE, turns.SIZE)) for _ in range(2))
    return lambda: turns.seconds(lambda: tf.matmul(a, b)[0, 0].numpy())


class TakesTurns(keras.callbacks.Callback):
    """Lets `fit` continue by one batch per request."""

    def __init__(self, session):
        super().__init__()
        self.session = session

    def on_train_batch_begin(self, batch, logs=None):
        if batch:
            self.session.wait()
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.session.stepped(time.perf_counter() - self.start)


def main():
    session = turns.Session()
    job = session.job
    net = FAMILIES[job.family](job.nodes, job.scheme)
    session.answers |= {"sgemm": sgemm(), "size": lambda: size(net)}
    net.compile(
        keras.optimizers.SGD(
            turns.LEARNING_RATE, turns.MOMENTUM, weight_decay=turns.WEIGHT_DECAY
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=job.xla,
    )
    images = tf.random.normal((job.batch, 32, 32, 3))
    labels = tf.random.uniform((job.batch,), maxval=turns.CLASSES, dtype=tf.int32)
    batches = tf.data.Dataset.from_tensors((images, labels)).repeat()
    session.lap("build")
    # More batches than are ever requested.
    net.fit(batches, steps_per_epoch=10**9, callbacks=[TakesTurns(session)], verbose=0)


if __name__ == "__main__":
    main()
