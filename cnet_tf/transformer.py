"""A transformer encoder whose layers are continuous in depth, as a functional model.

stem - position - block_0 - block_1 .. - tail (a norm) - mean over the sequence - dense
"""

import keras

from cnet_tf.checks import per_block, positive_integer
from cnet_tf.continuous_block import ContinuousBlock
from cnet_tf.image_ends import logits

layers = keras.layers

# As for all norms of this package; Keras' default is 1e-3.
_EPSILON = 1e-5


def ContinuousTransformer(
    classes,
    width=64,
    heads=4,
    mlp_width=None,
    blocks=1,
    vocabulary=None,
    mask_zero=False,
    patch=None,
    input_shape=(32, 32, 3),
    nodes=2,
    steps=None,
    scheme="rk4",
    basis="constant",
    horizon=1,
    restriction="average",
    dtype=None,
    name="continuous_transformer",
) -> keras.Model:
    """Builds a classifier of sequences or images: blocks dx/dt = eps R(theta(t), x).

        R(x) = A(LN(x)) + M(LN(x + A(LN(x)))),    M = dense - gelu - dense

    A is multi-head self-attention, LN layer normalisation. x + R(x) is the pre-norm
    encoder layer, so Euler with N = K and eps = K is a transformer of K layers. There
    is no dropout: every evaluation of R would draw another field.

        text = ContinuousTransformer(
            2, vocabulary=8000, mask_zero=True, input_shape=(200,)
        )
        series = ContinuousTransformer(5, input_shape=(100, 12))
        images = ContinuousTransformer(10, patch=4, input_shape=(32, 32, 3))

    The shape of the input determines its kind: `(length,)` integer tokens, which need a
    `vocabulary`; `(length, features)`; or `(height, width, channels)` images, cut into
    patches that are the elements of the sequence, row by row. A learned embedding of
    the position is added.

    Args:
        classes: Number of logits, >= 1.
        width: Features of each element of the sequence. Default 64.
        heads: Number of attention heads, a divisor of `width`; keys and values have
            `width / heads` features. Default 4.
        mlp_width: Hidden width of M. Default: 4 `width`.
        blocks: Number of consecutive blocks, >= 1. Default 1.
        vocabulary: V, tokens are 0 .. V - 1. Only for tokens.
        mask_zero: Whether token 0 is padding, which attention and mean ignore; each
            sequence needs a token other than 0. Only for tokens. Default False.
        patch: Side of the square patches, a divisor of height and width. Only for
            images. Default 4.
        input_shape: See above. Default (32, 32, 3).
        nodes: K, the number of basis functions, an int or one per block. Default 2.
        steps: N, an int or one per block. Default: the cells of the basis (K for
            constants).
        scheme: A key of `SCHEMES`. Default `"rk4"`.
        basis: A key of `BASES`. Default `"constant"`.
        horizon: eps, a number or one per block. Default 1.
        restriction: How theta is read with fewer steps than cells, see
            `ContinuousBlock`.
        dtype: Policy of every layer; the logits have its variable dtype. Default: the
            global policy.
        name: Name of the model.

    Shapes: (batch, *input_shape) -> logits (batch, classes).

    Returns:
        A functional `keras.Model` with the layers `stem` (a model itself for images),
        `position`, `block_i`, `tail`, `pool` and `head`.

    Raises:
        ValueError: a size below 1, heads that do not divide the width, a patch that
            does not divide the image, an argument for another kind of input, an unknown
            length, a sequence without one number per block, unknown scheme, basis or
            restriction.

    References: Queiruga, Erichson, Hodgkinson, Mahoney 2021, arXiv 2106.10820; Vaswani
    et al. 2017, arXiv 1706.03762; norms first: Xiong et al. 2020, arXiv 2002.04745;
    patches: Dosovitskiy et al. 2020, arXiv 2010.11929.
    """
    count = positive_integer("blocks", blocks)
    width = positive_integer("width", width)
    if width % positive_integer("heads", heads):
        raise ValueError(
            f"heads: expected a divisor of width = {width}. Received {heads}."
        )
    mlp_width = positive_integer(
        "mlp_width", 4 * width if mlp_width is None else mlp_width
    )
    policy = keras.dtype_policies.get(dtype)
    inputs, stem = _input_and_stem(
        tuple(input_shape), width, vocabulary, mask_zero, patch, policy
    )
    x = PositionEmbedding(dtype=policy, name="position")(stem(inputs))
    settings = zip(
        per_block("nodes", nodes, count),
        per_block("steps", steps, count),
        per_block("horizon", horizon, count),
        strict=True,
    )
    for i, (k, n, eps) in enumerate(settings):
        x = ContinuousBlock(
            _encoder_unit(x.shape[1:], heads, mlp_width, policy),
            nodes=k,
            scheme=scheme,
            steps=n,
            basis=basis,
            horizon=eps,
            restriction=restriction,
            dtype=policy,
            name=f"block_{i}",
        )(x)
    x = layers.LayerNormalization(epsilon=_EPSILON, dtype=policy, name="tail")(x)
    x = layers.GlobalAveragePooling1D(dtype=policy, name="pool")(x)
    return keras.Model(inputs, logits(x, classes, policy), name=name)


def _encoder_unit(shape, heads, mlp_width, policy):
    """Returns A(LN(x)) + M(LN(x + A(LN(x)))) for sequences of shape (length, width)."""
    width = shape[-1]
    x = keras.Input(shape, dtype=policy.compute_dtype, name="state")

    def norm(name):
        return layers.LayerNormalization(epsilon=_EPSILON, dtype=policy, name=name)

    attention = layers.MultiHeadAttention(
        heads, width // heads, dtype=policy, name="attention"
    )
    y = norm("attention_norm")(x)
    a = attention(y, y)
    m = norm("mlp_norm")(layers.Add(dtype=policy, name="attention_skip")([x, a]))
    m = layers.Dense(mlp_width, "gelu", dtype=policy, name="mlp_expand")(m)
    m = layers.Dense(width, dtype=policy, name="mlp_project")(m)
    return keras.Model(x, layers.Add(dtype=policy, name="sum")([a, m]), name="rate")


def _input_and_stem(shape, width, vocabulary, mask_zero, patch, policy):
    """Returns the symbolic input, and the layer from it to (length, width)."""
    if len(shape) not in _STEMS:
        raise ValueError(
            "input_shape: expected (length,), (length, features) or (height, width, "
            f"channels). Received {shape}."
        )
    kind, allowed, input_dtype, stem = _STEMS[len(shape)]
    given = {"vocabulary": vocabulary, "mask_zero": mask_zero or None, "patch": patch}
    for argument, value in given.items():
        if value is not None and argument not in allowed:
            raise ValueError(
                f"{argument}: expected none for {kind}, input_shape={shape}. "
                f"Received {value!r}."
            )
    if None in shape:
        raise ValueError(
            "input_shape: expected known sizes, as positions are learned. "
            f"Received {shape}: pad the sequences."
        )
    inputs = keras.Input(
        shape, dtype=input_dtype or policy.variable_dtype, name=kind.replace(" ", "_")
    )
    arguments = {argument: given[argument] for argument in allowed}
    return inputs, stem(shape, width, policy, **arguments)


def _tokens(shape, width, policy, vocabulary, mask_zero):
    if vocabulary is None:
        raise ValueError(
            f"vocabulary: expected a number of tokens for input_shape={shape}. "
            "Received None: give it, or an input_shape of (length, features)."
        )
    return layers.Embedding(
        positive_integer("vocabulary", vocabulary),
        width,
        mask_zero=bool(mask_zero),
        dtype=policy,
        name="stem",
    )


def _features(shape, width, policy):
    return layers.Dense(width, dtype=policy, name="stem")


def _patches(shape, width, policy, patch):
    size = positive_integer("patch", 4 if patch is None else patch)
    if shape[0] % size or shape[1] % size:
        raise ValueError(
            f"patch: expected a divisor of height and width, input_shape={shape}. "
            f"Received {size}."
        )
    # A functional model, whose name is part of its layers' names: see `mobile_net`.
    image = keras.Input(shape, dtype=policy.variable_dtype, name="stem_input")
    x = layers.Conv2D(width, size, size, dtype=policy, name="stem_patches")(image)
    x = layers.Reshape((-1, width), dtype=policy, name="stem_sequence")(x)
    return keras.Model(image, x, name="stem")


# Rank of the input -> its kind, its arguments, its dtype (None: that of the weights),
# and its stem.
_STEMS = {
    1: ("tokens", ("vocabulary", "mask_zero"), "int32", _tokens),
    2: ("features", (), None, _features),
    3: ("image", ("patch",), None, _patches),
}


@keras.saving.register_keras_serializable("cnet_tf")
class PositionEmbedding(layers.Layer):
    """y_i = x_i + p_i with a learned p_i for every position i of a sequence.

    Args:
        embeddings_initializer: Initializer of the p_i. Default `"uniform"`, as in
            `keras.layers.Embedding`.

    Shapes: (batch, length, width) -> the same. Building the layer fixes the length.

    Reference: Vaswani et al. 2017, arXiv 1706.03762, section 3.5, the learned variant.
    """

    def __init__(self, embeddings_initializer="uniform", **kwargs):
        super().__init__(**kwargs)
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)
        self.supports_masking = True

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=tuple(input_shape)[1:],
            initializer=self.embeddings_initializer,
        )

    def call(self, x):
        return x + self.embeddings

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "embeddings_initializer": keras.initializers.serialize(
                self.embeddings_initializer
            ),
        }
