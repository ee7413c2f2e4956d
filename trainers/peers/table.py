"""The peers by name: what they run, in which environment, with which settings."""

import dataclasses
import pathlib

from cnet_tf.presets import PRESETS

PROGRAMS = pathlib.Path(__file__).with_name("programs")


@dataclasses.dataclass(frozen=True)
class Peer:
    """A program that trains the nets. Adding one is adding a record.

    Attributes:
        title: Its name in tables.
        program: Name of its file among the programs; see `programs/turns.py` for the
            protocol.
        settings: What its job holds besides the net.
        requirements: Name of the requirements file of its environment; None: ours.
        usual: Whether it is compared by default.
        starts: Whether its start is measured over K.
        same: Whether it trains the same net as ours, with its parameters and MACs.
    """

    title: str
    program: str
    settings: dict = dataclasses.field(default_factory=dict)
    requirements: str | None = None
    usual: bool = True
    starts: bool = False
    same: bool = True


_KERAS = {"family": "continuous", "xla": False}

PEERS: dict[str, Peer] = {
    # First: all others are compared with it.
    "cnet_tf": Peer("cnet_tf", "with_cnet_tf", {"unroll": True}, starts=True),
    "cnet_tf_loop": Peer(
        "cnet_tf, steps in a loop",
        "with_cnet_tf",
        {"unroll": False},
        usual=False,
        starts=True,
    ),
    "pytorch": Peer("PyTorch, eager", "with_pytorch", {}, "pytorch", starts=True),
    # As PyTorch advises where parts repeat; compiling the whole net takes longer.
    "pytorch_compile": Peer(
        "PyTorch, compiled by parts",
        "with_pytorch",
        {"compiled": "parts"},
        "pytorch",
        starts=True,
    ),
    "pytorch_compile_net": Peer(
        "PyTorch, compiled",
        "with_pytorch",
        {"compiled": "net"},
        "pytorch",
        usual=False,
        starts=True,
    ),
    "torchdiffeq": Peer("torchdiffeq", "with_torchdiffeq", {}, "pytorch"),
    "jax": Peer("JAX, own steps", "with_jax", {}, "jax"),
    "diffrax": Peer("diffrax", "with_diffrax", {}, "jax", usual=False),
    # Without oneDNN where TensorFlow does not choose it by itself.
    "keras": Peer("Keras layers, fit", "with_keras", _KERAS),
    # As `compile` does by default.
    "keras_xla": Peer(
        "Keras layers, fit, XLA", "with_keras", {**_KERAS, "xla": True}, usual=False
    ),
    # With as many units as the net has evaluations and transitions.
    "resnet": Peer(
        "Keras ResNet, fit",
        "with_keras",
        {"family": "resnet", "xla": False},
        same=False,
    ),
    # Not a peer but a bound: nothing that calls the same kernels can beat it.
    "convolutions": Peer("our convolutions alone", "with_convolutions", usual=False),
}

USUAL = tuple(name for name, peer in PEERS.items() if peer.usual)
STARTS = tuple(name for name, peer in PEERS.items() if peer.starts)

# What a job says about a net.
NETS: dict[str, dict] = {
    name: {key: PRESETS[name][key] for key in ("nodes", "scheme")}
    for name in (
        "cifar10_2-2-2_euler",
        "cifar10_2-2-2_rk4",
        "cifar10_8-8-8_euler",
        "cifar10_8-8-8_rk4",
    )
}
