"""Compiles a model as another one is, with the very losses of that one.

Keras' configs leave out settings of losses, such as the delta of `Huber`, and know a
user's own functions by name only.
"""

import keras


def compile_like(model, other, optimizer, metric=lambda one: one):
    """Compiles a model as another one is compiled.

    Args:
        model: The model to compile.
        other: A compiled model.
        optimizer: The optimizer of the model, scaled as it shall stay.
        metric: Function of a metric of the other model, which may be a name, that
            returns the model's. Default: the same, for a model that replaces the other.
    """

    def own(metrics):
        return keras.tree.map_structure(metric, metrics)

    metrics, loss = other._compile_metrics, other._compile_loss
    model.compile(
        optimizer=optimizer,
        loss=other.loss,
        loss_weights=loss and loss._user_loss_weights,
        metrics=metrics and own(metrics._user_metrics),
        weighted_metrics=metrics and own(metrics._user_weighted_metrics),
        run_eagerly=other.run_eagerly,
        steps_per_execution=other.steps_per_execution,
        jit_compile=other.jit_compile,
        auto_scale_loss=False,  # It would wrap the optimizer.
    )


def fresh_metric(one):
    """Returns a metric with a state of its own; names and functions have none."""
    if not isinstance(one, keras.metrics.Metric):
        return one
    return type(one).from_config(one.get_config())
