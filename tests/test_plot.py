"""Keras draws our nets, with the models within them opened."""

import shutil

import keras
import pytest

import cnet_tf

pytest.importorskip("pydot")


def own_model():
    unit = keras.Sequential([keras.layers.Dense(8, "tanh"), keras.layers.Dense(4)])
    return keras.Sequential(
        [
            keras.Input((4,)),
            cnet_tf.ContinuousBlock(unit, nodes=2, scheme="rk4", name="own_block"),
            keras.layers.Dense(3),
        ]
    )


NETS = {
    "digits": lambda: cnet_tf.continuous_net("digits"),
    "mobile": lambda: cnet_tf.continuous_net("digits_mobile"),
    "transformer": lambda: cnet_tf.continuous_net("digits_transformer"),
    "resnet20": lambda: cnet_tf.continuous_net("resnet20"),
    "own": own_model,
    "refined": lambda: cnet_tf.refine(cnet_tf.continuous_net("digits"), 2),
}


def leaves(model):
    """The names of all layers that are no models."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        else:
            yield layer.name


@pytest.mark.parametrize("name", NETS)
def test_every_layer_is_drawn(name):
    net = NETS[name]()
    text = keras.utils.model_to_dot(
        net, expand_nested=True, show_shapes=True, show_layer_names=True
    ).to_string()
    assert [layer for layer in leaves(net) if layer not in text] == []


def test_a_picture_is_written(tmp_path):
    if not shutil.which("dot"):
        pytest.skip("no `dot` on the PATH: install Graphviz")
    path = tmp_path / "net.png"
    keras.utils.plot_model(
        cnet_tf.continuous_net("digits"), str(path), expand_nested=True
    )
    assert path.read_bytes().startswith(b"\x89PNG")
