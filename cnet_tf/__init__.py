"""cnet_tf: continuous-in-depth neural networks in Keras.

    dh/dt = eps R(theta(t), h),   theta(t) = sum_k phi_k(t) theta_k,   t in [0, 1]

Reference: Queiruga, Erichson, Taylor, Mahoney 2020, arXiv 2008.02389.
"""

from cnet_tf.basis import BASES, get_basis
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.continuous_classifier import ContinuousClassifier
from cnet_tf.continuous_net import ContinuousNet
from cnet_tf.from_residual import from_residual
from cnet_tf.grown_fit import fit_growing
from cnet_tf.lifted_layer import lift
from cnet_tf.manifestation import (
    manifest,
    recalibrate,
    recalibrated,
    recalibrated_along,
)
from cnet_tf.mobile_net import ContinuousMobileNet
from cnet_tf.plain_model import to_plain
from cnet_tf.presets import PRESETS, continuous_net
from cnet_tf.refinement import project, refine
from cnet_tf.resnet import ResNet
from cnet_tf.runge_kutta import integrate
from cnet_tf.tableaus import SCHEMES, ButcherTableau, get_scheme
from cnet_tf.transformer import ContinuousTransformer

__all__ = [
    "BASES",
    "PRESETS",
    "SCHEMES",
    "ButcherTableau",
    "ContinuousBlock",
    "ContinuousClassifier",
    "ContinuousMobileNet",
    "ContinuousNet",
    "ContinuousTransformer",
    "ResNet",
    "continuous_net",
    "fit_growing",
    "from_residual",
    "get_basis",
    "get_scheme",
    "integrate",
    "lift",
    "manifest",
    "project",
    "recalibrate",
    "recalibrated",
    "recalibrated_along",
    "refine",
    "to_plain",
]
