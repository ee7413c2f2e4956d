"""The net that a run starts from: a preset with the options' overrides, or a file."""

import os

import keras
import tensorflow as tf

from cnet_tf import checkpoint, keras_file, pretrained
from cnet_tf.any_depth import with_members, with_series_norms
from cnet_tf.architecture import in_precision, readable
from cnet_tf.bounds import MOST_STEPS
from cnet_tf.image_ends import (
    LEAVE_IT_OUT,
    gives_probabilities,
    last_operation,
    takes_pixels,
)
from cnet_tf.manifestation import manifest
from cnet_tf.member_name import member_name
from cnet_tf.presets import continuous_net
from cnet_tf.surgery import blocks_of, chosen_blocks, normalizations
from trainers import members
from trainers.combinations import grows
from trainers.data.errors import tell
from trainers.errors import OptionError, naming
from trainers.option_kinds import of_blocks

# Options that are passed to the net unchanged.
OVERRIDES = (
    "scheme",
    "basis",
    "unit",
    "horizon",
    "stitch",
    "padding",
    "restriction",
)


def first_net(plan):
    """Builds or reads the net.

    Args:
        plan: The run's `Plan`; the net must fit its images and classes. Call it in the
            scope of the strategy.

    Raises:
        OptionError: the net cannot be built, or fits other images or classes.
    """
    options, data = plan.options, plan.data
    net = _of_file(options, data) if options.model else _of_preset(options, data)
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        with naming(f"--model with --strategy={options.strategy}"):
            net = with_series_norms(net)
    if not options.unroll:
        net = _manifested(net, "nounroll", unroll=False)
    if options.recompute:
        net = _manifested(net, "recompute", recompute=True)
    if options.any_depth:
        _check_members(net, options)
    if options.train_only == "head":
        _freeze_features(net)
    with naming("--model" if options.model else "--preset and its overrides"):
        readable(net)  # Checked before training, not after.
    return net


def _manifested(net, flag, **form):
    with naming(f"--{flag}"):
        return manifest(net, **form)


def _freeze_features(net):
    """Freezes all layers but the last, which makes the logits, within models too."""
    head = net
    while isinstance(head, keras.Model):
        *features, head = head.layers
        for layer in features:
            layer.trainable = False
    if not head.trainable_variables:
        raise OptionError(
            f"--train_only: expected a net whose last layer has weights. Received "
            f"{head.name!r}: end it with a dense layer, or train all."
        )


def _check_members(net, options):
    """Refuses before training what `members.start` would refuse during it."""
    wanted, known = members.names(options), members.others(net)
    if known and known != wanted:
        raise OptionError(
            f"--any_depth: expected the members of --model, {','.join(known)}. "
            f"Received {','.join(wanted)}."
        )
    own = _forms_to_come(net, options)
    if not options.grow and own & set(wanted):
        raise OptionError(
            "--any_depth: expected manifestations other than the net's own, which "
            "learn in every update, including refined ones. Received "
            f"{', '.join(sorted(own & set(wanted)))}: leave it out."
        )
    with naming("--any_depth"):
        if not known:
            with_members(net, wanted)


def _forms_to_come(net, options) -> set[str]:
    """Names the manifestations that a net has from the start of a run to its end.

    For --refine=adaptive: only those in which all blocks are refined alike.
    """
    times = len(options.refine_epochs)
    if options.refine == "on_plateau":
        times = options.refine_times
    factors = options.refine_factor
    multiples = [1]
    for i in range(times):
        multiples.append(multiples[-1] * factors[min(i, len(factors) - 1)])
    blocks = blocks_of(net)
    if len({block.scheme for block in blocks}) != 1:
        return set()
    return {
        member_name(blocks[0].scheme, [m * block.steps for block in blocks])
        for m in multiples
        if m * max(block.steps for block in blocks) <= MOST_STEPS
    }


def _of_preset(options, data):
    overrides = {
        name: getattr(options, name)
        for name in OVERRIDES
        if getattr(options, name) is not None
    }
    for name in ("nodes", "steps"):
        if getattr(options, name):
            overrides[name] = of_blocks(getattr(options, name))
    if options.sync_batch_norm:  # Not every net has batch norms.
        overrides["synchronized"] = True
    stages = [
        {"scheme": scheme, "steps": steps, "nodes": nodes}
        for _, scheme, steps, nodes in options.grow
    ] or [{}]
    shape = data.image_shape
    if options.weights:
        _check_channels(options, data)
    if options.image_sizes:
        shape = (None, None, shape[-1])
    with naming("--preset and its overrides"):
        # Builds every stage, so that an impossible one does not end a run half-way.
        net, *_ = [
            continuous_net(
                options.preset,
                classes=len(data.class_names),
                dtype=options.precision,
                input_shape=shape,
                **overrides | stage,
            )
            for stage in stages
        ]
        if options.weights:
            names = data.class_names
            pretrained.load_weights(net, options.preset, options.weights, names)
        return net


def _check_channels(options, data):
    try:
        expected = pretrained.data_of(options.preset)["image_shape"][-1]
    except ValueError:
        return  # `load_weights` says what ships.
    if (found := data.image_shape[-1]) != expected:
        raise OptionError(
            f"--weights: expected images of {expected} channels. Received {found}, "
            f"from --dataset={options.dataset}: choose another --dataset."
        )


def _of_file(options, data):
    with naming("--model"):
        net = _read(options.model, options.train_only)
        net = in_precision(net, options.precision)
        if options.scheme or options.steps:
            net = manifest(net, options.scheme, of_blocks(options.steps))
        if grows(options):
            chosen_blocks(net)  # Refuses a net without blocks before it trains.
    expected = [(None, *data.image_shape)], [(None, len(data.class_names))]
    found = [tuple(x.shape) for x in net.inputs], [tuple(x.shape) for x in net.outputs]
    if not all(map(_fits, found, expected)):
        raise OptionError(
            f"--model: expected a model from images {expected[0][0]} to logits "
            f"{expected[1][0]} for {data.name!r}. Received one from {found[0]} to "
            f"{found[1]}: give it that input and output, or choose another --dataset."
        )
    if "float" not in net.inputs[0].dtype:  # Keras would truncate normalised pixels.
        raise OptionError(
            f"--model: expected an input of floats. Received {net.inputs[0].dtype}: "
            "build it on a keras.Input of float32."
        )
    if gives_probabilities(net):
        raise OptionError(
            "--model: expected a model of logits. Received one whose last layer "
            f"{last_operation(net).name!r} takes a softmax or sigmoid: {LEAVE_IT_OUT}, "
            "and save it again."
        )
    if takes_pixels(net):
        raise OptionError(
            f"--model: expected a model of normalised images, which trainings give. "
            f"Received {options.model!r}, which first scales pixels from 0 to 255 "
            "itself: leave that layer out, and save it again."
        )
    frozen = [norm.name for norm in normalizations(net) if not norm.trainable]
    if frozen and options.recalibrate:
        raise OptionError(
            "--recalibrate: expected a --model whose batch norms learn. Received one "
            f"that keeps {frozen[0]!r} frozen: leave --recalibrate out, as the other "
            "layers know its statistics."
        )
    if net.losses and options.weight_decay:
        tell(
            "--model: its own regularizers count besides --weight_decay="
            f"{options.weight_decay:g}; --weight_decay=0 leaves them alone."
        )
    if options.image_sizes and net.input_shape[1:3] != (None, None):
        raise OptionError(
            "--image_sizes: expected a --model of images of any size. Received one of "
            f"{found[0]}: start it with keras.Input((None, None, channels))."
        )
    return net


def _read(path, train_only):
    if not os.path.isdir(path):
        return keras_file.read(path)
    found = checkpoint.load(checkpoint.folder_of(path))
    if train_only == "all" and found.metadata.get("train_only") == "head":
        for layer in found.net.layers:
            layer.trainable = True
        tell(f"--model: all layers of {path} learn; its features were frozen before.")
    return found.net


def _fits(found, expected):
    """Whether shapes are the expected ones; a free size fits any."""
    return len(found) == len(expected) and all(
        len(a) == len(b) and all(n is None or n == m for n, m in zip(a, b, strict=True))
        for a, b in zip(found, expected, strict=True)
    )
