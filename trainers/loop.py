"""The training loop: one for every strategy, with growth of depth on the way."""

import dataclasses
import time

import keras
import numpy as np
import tensorflow as tf

from cnet_tf import checkpoint
from cnet_tf.manifestation import recalibrate
from cnet_tf.presets import continuous_net
from cnet_tf.refinement import refine, slots
from trainers import data as image_data
from trainers import fused_norm, run_directory, steps
from trainers.batches import eval_batches, train_batches
from trainers.errors import OptionError
from trainers.flops import forward_flops
from trainers.options import Options, validate
from trainers.schedule import learning_rate, make_optimizer
from trainers.strategy import make_strategy

# Images of a batch of evaluation.
_EVALUATED = 500

# Batches that re-estimate the batch norms of averaged weights.
_RECALIBRATION_BATCHES = 20


@dataclasses.dataclass
class State:
    """What training changes; growth replaces both."""

    net: keras.Model
    optimizer: keras.optimizers.Optimizer


def fit(options: Options, describe=lambda run: None) -> dict:
    """Trains a net as the options say; returns the summary, also in the run directory.

    Args:
        options: Validated here, before any long work.
        describe: Called with the run directory as soon as it exists.

    Raises:
        OptionError, DataError: bad input.
    """
    validate(options)
    strategy = make_strategy(options.strategy, options.replicas)
    jit = _jit(options, strategy)
    data = image_data.load(
        options.dataset,
        options.data_dir,
        options.validation_fraction,
        options.image_size,
    )
    per_epoch = _batches_per_epoch(options, data)
    keras.utils.set_random_seed(options.seed)
    fused_norm.install()
    with strategy.scope():
        state = _start(options, data, per_epoch)
    name = options.name or f"{options.dataset}-{options.preset}".replace("/", "-")
    run = run_directory.create(options.runs_dir, name.replace(":", ""))
    describe(run)
    metadata = {"data": data_metadata(data, options)}

    callbacks = _callbacks(options, run, state.net, per_epoch)
    callbacks.on_train_begin()
    began, trained, history = time.perf_counter(), 0.0, []
    programs = None
    for epoch in range(options.epochs):
        if epoch in options.refine_epochs:
            with strategy.scope():
                state = grow(state, options.refine_factor, options.refine_momentum)
            programs = None
        # Graphs hold the net they were traced with: growth needs new ones.
        programs = programs or _programs(options, state, strategy, jit)
        callbacks.on_epoch_begin(epoch)
        start = time.perf_counter()
        rate = learning_rate(state.optimizer)
        logs = _train_epoch(
            options, data, epoch, per_epoch, strategy, programs, callbacks
        )
        seconds = time.perf_counter() - start
        trained += seconds
        logs["learning_rate"] = rate
        logs["images_per_second"] = per_epoch * options.batch_size / seconds
        logs["steps"] = _depth(state.net)
        if data.validation is not None:
            validation = eval_batches(data, "validation", _EVALUATED)
            scores = steps.evaluate_with(programs[1], validation, strategy)
            logs |= {f"val_{key}": value for key, value in scores.items()}
        logs["seconds"] = time.perf_counter() - began
        checkpoint.save(state.net, run / "net", metadata)
        history.append(dict(logs))
        callbacks.on_epoch_end(epoch, logs)
    callbacks.on_train_end()
    if options.ema:
        _average(options, state, data)
        checkpoint.save(state.net, run / "net", metadata)
    held_out = eval_batches(data, "test", _EVALUATED)
    test = steps.evaluate_with(programs[1], held_out, strategy)
    summary = {
        "run": str(run),
        **{f"test_{key}": value for key, value in test.items()},
        "parameters": sum(int(np.prod(v.shape)) for v in state.net.trainable_variables),
        "forward_flops_per_image": forward_flops(state.net, data.image_shape),
        "images_per_second": options.epochs * per_epoch * options.batch_size / trained,
        "train_seconds": trained,
        "wall_seconds": time.perf_counter() - began,
        "epochs": options.epochs,
    }
    checkpoint.write_json(run / "summary.json", {**summary, "history": history})
    return summary


def data_metadata(data, options) -> dict:
    """What a deployed net must know of its data: names and normalisation."""
    return {
        "name": data.name,
        "image_size": options.image_size,
        "augment": options.augment,
        "image_shape": list(data.image_shape),
        "class_names": list(data.class_names),
        "mean": [float(v) for v in data.mean],
        "std": [float(v) for v in data.std],
    }


def grow(state: State, factor: int, momentum: str = "carry") -> State:
    """Refines net and optimizer together.

    Args:
        state: Before.
        factor: See `refine`.
        momentum: `"carry"` (default) refines the optimizer's slots like their weights,
            `"reset"` sets them to zero.

    Raises:
        RuntimeError: the optimizer does not hold exactly the new net's weights; it
            would go on training the old ones without a word.
    """
    net, optimizer = refine(state.net, factor, optimizer=state.optimizer)
    held = [id(v) for v in optimizer._trainable_variables]
    if held != [id(v) for v in net.trainable_variables]:
        raise RuntimeError("growth: the optimizer does not hold the new net's weights.")
    if momentum == "reset":
        for slot in slots(optimizer, net):
            slot.assign(keras.ops.zeros_like(slot))
    return State(net, optimizer)


def _start(options, data, per_epoch) -> State:
    """The net of the preset with the flags' overrides, and its optimizer, built."""
    overrides = {
        name: getattr(options, name)
        for name in ("scheme", "basis", "unit", "horizon", "restriction")
        if getattr(options, name) is not None
    }
    for name in ("nodes", "steps"):
        numbers = getattr(options, name)
        if numbers:
            overrides[name] = numbers[0] if len(numbers) == 1 else numbers
    try:
        net = continuous_net(
            options.preset,
            classes=len(data.class_names),
            dtype=options.precision,
            **overrides,
        )
    except ValueError as error:
        raise OptionError(f"--preset and its overrides: {error}") from error
    net.build((None, *data.image_shape))
    optimizer = make_optimizer(options, per_epoch)
    optimizer.build(net.trainable_variables)
    return State(net, optimizer)


def _programs(options, state, strategy, jit):
    """(train, evaluate): the graphs of the current net."""
    l2 = options.weight_decay if options.weight_decay_mode == "l2" else 0.0

    def train(images, labels):
        return steps.train_step(
            state.net,
            state.optimizer,
            images,
            labels,
            batch_size=options.batch_size,
            weight_decay=l2,
            smoothing=options.label_smoothing,
        )

    def evaluate(images, labels):
        return steps.eval_step(state.net, images, labels)

    return (
        steps.distributed(train, strategy, jit),
        steps.distributed(evaluate, strategy, jit),
    )


def _train_epoch(options, data, epoch, per_epoch, strategy, programs, callbacks):
    batches = train_batches(
        data, options.batch_size, options.seed, epoch, options.augment
    ).take(per_epoch)
    totals = np.zeros(3)
    for i, (images, labels) in enumerate(
        strategy.experimental_distribute_dataset(batches)
    ):
        callbacks.on_train_batch_begin(i)
        totals += [float(value) for value in programs[0](images, labels)]
        logs = {"loss": totals[0] / totals[2], "accuracy": totals[1] / totals[2]}
        callbacks.on_train_batch_end(i, logs)
    # Before anything is saved: the checkpoint of the epoch before stays.
    if not np.isfinite(logs["loss"]):
        raise OptionError(
            f"--learning_rate: the loss of epoch {epoch} is {logs['loss']}. Received "
            f"{options.learning_rate}: lower it, or raise the batch size."
        )
    return logs


def _average(options, state, data):
    """Ends with the moving average of the weights and statistics that fit them."""
    state.optimizer.finalize_variable_values(state.net.trainable_variables)
    batches = train_batches(
        data, options.batch_size, options.seed, options.epochs, options.augment
    )
    recalibrate(state.net, batches.take(_RECALIBRATION_BATCHES))


def _callbacks(options, run, net, per_epoch):
    callbacks = [keras.callbacks.CSVLogger(str(run / "log.csv"))]
    if options.tensorboard:
        callbacks.append(
            keras.callbacks.TensorBoard(str(run / "tensorboard"), write_graph=False)
        )
    return keras.callbacks.CallbackList(
        callbacks,
        add_progbar=options.verbose > 0,
        model=net,
        verbose=options.verbose,
        epochs=options.epochs,
        steps=per_epoch,
    )


def _depth(net):
    """Steps of the first block, or 0 for nets of fixed depth: a number for the log."""
    return net.blocks[0].steps if net.blocks else 0


def _batches_per_epoch(options, data):
    whole = data.sizes["train"] // options.batch_size
    if whole == 0:
        raise OptionError(
            f"--batch_size: expected at most {data.sizes['train']}, the examples to "
            f"train on. Received {options.batch_size}."
        )
    return min(whole, options.batches_per_epoch or whole)


def _jit(options, strategy):
    replicas = strategy.num_replicas_in_sync
    if options.batch_size % replicas:
        raise OptionError(
            f"--batch_size: expected a multiple of the {replicas} replicas. "
            f"Received {options.batch_size}."
        )
    if options.jit_compile == "on" and replicas > 1:
        raise OptionError(
            f"--jit_compile: expected 'off' or 'auto' with {replicas} replicas, which "
            "XLA cannot compile as one step. Received 'on'."
        )
    if options.jit_compile == "auto":
        return bool(tf.config.list_physical_devices("GPU")) and replicas == 1
    return options.jit_compile == "on"
