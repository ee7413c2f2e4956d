"""What every builder of a functional net owes, whatever the net is.

A contract is a function of a builder (arguments to a small net) and of inputs.
"""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from cnet_tf import manifest, refine


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def randomize(net, seed=1):
    rng = np.random.default_rng(seed)
    for v in net.variables:
        value = rng.normal(size=v.shape, scale=0.3)
        # Small scales in a row would leave nothing of the input.
        positive = v.name in ("moving_variance", "gamma")
        v.assign(np.abs(value) + 0.8 if positive else value)
    return net


def refining_keeps_logits(build, x):
    """Twice the cells, the same steps: theta(t) and so every bit stays."""
    net = randomize(build(nodes=2))
    deep = refine(net, 2, steps_factor=1)
    assert {b.nodes for b in deep.layers if b.name.startswith("block_")} == {4}
    np.testing.assert_array_equal(deep(x), net(x))


def manifestations_share_variables(build, x):
    net = randomize(build(nodes=2, scheme="rk4"))
    cheap = manifest(net, scheme="euler", steps=5)
    mine, other = ({v.path: v for v in m.variables} for m in (net, cheap))
    assert mine.keys() == other.keys() and all(mine[k] is other[k] for k in mine)
    assert np.abs(cheap(x) - net(x)).max() > 1e-4  # another graph


def files_and_clones_compute_the_same(build, x, tmp_path):
    net = randomize(build(nodes=3, basis="hat"))
    net.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(loaded(x), net(x))
    configs = [json.dumps(m.get_config(), sort_keys=True) for m in (loaded, net)]
    assert configs[0] == configs[1]
    clone = keras.models.clone_model(net)
    paths = [v.path for v in net.variables]
    assert len(set(paths)) == len(paths)
    for other in (loaded, clone, refine(net, 2)):
        assert [v.path for v in other.variables] == paths
    clone.set_weights(net.get_weights())
    np.testing.assert_array_equal(clone(x), net(x))


def parts_are_named(build, x, names):
    net = build()
    layers = [y for y in net.layers if not isinstance(y, keras.layers.InputLayer)]
    assert [layer.name for layer in layers] == names
    text = []
    net.summary(expand_nested=True, print_fn=text.append)
    assert all(name in "\n".join(text) for name in names)
    # Features of a block, by its name.
    state = keras.Model(net.input, net.get_layer("block_0").output)(x)
    assert state.shape == (len(x), *net.get_layer("block_0").output.shape[1:])


def is_drawn(build, tmp_path):
    pytest.importorskip("pydot")
    if not shutil.which("dot"):
        pytest.skip("graphviz is not installed")
    keras.utils.plot_model(build(), tmp_path / "net.png", expand_nested=True)
    assert (tmp_path / "net.png").stat().st_size > 0


def gradients_reach_every_weight(build, x):
    """But a bias of attention's keys, which moves all scores of a query alike."""
    net = build(nodes=2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sin(3 * net(x, training=True)))
    found = tape.gradient(loss, [v.value for v in net.trainable_variables])
    for v, g in zip(net.trainable_variables, found, strict=True):
        g = tf.convert_to_tensor(g).numpy()
        assert np.all(np.isfinite(g)), v.path
        assert np.any(g) or "key_bias" in v.path, v.path


def learns_alike_from_a_seed(build, x, labels, epochs, rate=0.01):
    losses = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        net = build(nodes=2)
        net.compile(
            keras.optimizers.Adam(rate),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        history = net.fit(x, labels, batch_size=len(x) // 2, epochs=epochs, verbose=0)
        losses.append(history.history["loss"])
    assert losses[0] == losses[1]
    assert losses[0][-1] < 0.5 * losses[0][0], losses[0]


def precision_is_that_of_the_policy(build, x, policy):
    """Layers have the policy they are given, logits the precision of the weights."""
    net = build(dtype=policy)
    policy = keras.dtype_policies.get(policy)
    assert {v.dtype for v in net.variables} == {policy.variable_dtype}
    assert net.get_layer("block_0").output.dtype == policy.compute_dtype
    logits = net(x, training=True)
    assert logits.dtype == policy.variable_dtype
    assert np.all(np.isfinite(logits))


def computes_in_double_precision(build, x):
    """Nothing on the way rounds to float32, which would lose a change of 1e-10."""
    single = randomize(build())
    double = build(dtype="float64")
    double.set_weights(single.get_weights())
    block = double.get_layer("block_0")
    state = normal((2, *block.input.shape[1:])).astype("float64")
    # The rate by itself too, as the state goes past it.
    for function, at in ((double, x.astype("float64")), (block.rate, state)):
        difference = np.abs(function(at * (1 + 1e-10)) - function(at)).max()
        assert 0 < difference < 1e-7, difference
    np.testing.assert_allclose(double(x), single(x), rtol=1e-3, atol=1e-3)


def tflite_has_all_operations(build, x):
    """The converter finds a built-in operation for every one, and LiteRT agrees."""
    net, x = randomize(build(nodes=2)), x[:1]
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    (start,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(start["index"], x.astype(start["dtype"]))
    interpreter.invoke()
    logits = interpreter.get_tensor(end["index"])
    np.testing.assert_allclose(logits, net(x), rtol=1e-4, atol=1e-4)
