"""A learned scalar factor: skip-init."""

import keras


@keras.saving.register_keras_serializable("cnet_tf")
class Scale(keras.layers.Layer):
    """y = alpha x with a scalar alpha, initially 0.

    A residual unit whose branch ends in this layer starts as the identity, and needs no
    norm.

    Args:
        initial: Initial alpha. Default 0.

    Reference: De and Smith 2020, arXiv 2002.10444.
    """

    def __init__(self, initial=0.0, **kwargs):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape):
        self.alpha = self.add_weight(
            name="alpha",
            shape=(),
            initializer=keras.initializers.Constant(self.initial),
        )

    def call(self, inputs):
        return self.alpha * inputs

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "initial": self.initial}
