"""Compiles a model as another one is, with the very losses and metrics of that one.

Keras' configs leave out settings of losses, such as the delta of `Huber`, and know a
user's own functions by name only.
"""


def compile_like(model, other, optimizer):
    """Compiles a model.

    Args:
        model: The model to compile.
        other: A compiled model.
        optimizer: The optimizer of the model, scaled as it shall stay.
    """
    metrics, loss = other._compile_metrics, other._compile_loss
    model.compile(
        optimizer=optimizer,
        loss=other.loss,
        loss_weights=loss and loss._user_loss_weights,
        metrics=metrics and metrics._user_metrics,
        weighted_metrics=metrics and metrics._user_weighted_metrics,
        run_eagerly=other.run_eagerly,
        steps_per_execution=other.steps_per_execution,
        jit_compile=other.jit_compile,
        auto_scale_loss=False,  # It would wrap the optimizer.
    )
