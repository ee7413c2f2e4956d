"""A dense ContinuousNet for feature vectors: two moons, spirals, tables."""

import keras

from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.net import Net, per_block, remanifested
from cnet_tf.rate import SeriesChain


@keras.saving.register_keras_serializable("cnet_tf")
class ContinuousClassifier(Net):
    """Dense stem, one block dx/dt = eps R(theta(t), x), dense logits.

    Args:
        classes: Logits.
        width: Features of the state x. Default 16.
        nodes: K, functions of the basis. Default 2.
        steps: N. Default: the cells of the basis.
        scheme, basis, horizon, restriction, share: See `ContinuousNet`.
        activation: Of the rate dense - activation - dense. Default `"tanh"`.

    Shapes: (batch, features) -> logits (batch, classes).
    """

    def __init__(
        self,
        classes,
        width=16,
        nodes=2,
        steps=None,
        scheme="rk4",
        basis="constant",
        activation="tanh",
        horizon=1,
        restriction="average",
        share=None,
        **kwargs,
    ):
        config = {
            "classes": classes,
            "width": width,
            "nodes": per_block("nodes", nodes, 1),
            "steps": per_block("steps", steps, 1),
            "scheme": scheme,
            "basis": basis,
            "activation": activation,
            "horizon": horizon,
            "restriction": restriction,
        }
        if share is None:
            policy = kwargs.get("dtype")
            rate = SeriesChain(
                ("dense", activation, "dense"),
                width,
                basis=basis,
                nodes=config["nodes"][0],
                name="rate",
                dtype=policy,
            )
            block = ContinuousBlock(
                rate,
                scheme=scheme,
                steps=config["steps"][0],
                horizon=horizon,
                restriction=restriction,
                name="block_0",
                dtype=policy,
            )
            parts = [
                keras.layers.Dense(width, name="stem", dtype=policy),
                block,
                keras.layers.Dense(
                    classes,
                    dtype=keras.dtype_policies.get(policy).variable_dtype,
                    name="head",
                ),
            ]
        else:
            parts = remanifested(
                share.parts, scheme, config["steps"], horizon, restriction
            )
        super().__init__(parts, config, **kwargs)
