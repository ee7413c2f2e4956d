"""One training step and one evaluation step as JAX programs."""

import jax
import keras
import numpy as np
from jax import numpy as jnp

from trainers.loss import eval_step, sums, training_loss


def update_function(net, optimizer, *, batch_size, weight_decay, **settings):
    """Returns one update as a pure function, to be compiled or used in a loop.

    The gradient is that of `training_loss` / batch_size + weight_decay / 2 |theta|^2,
    and of the net's `penalty`; weights that nothing reads, not even a regularizer, do
    not decay. If the loss or the norm of the gradient is non-finite, nothing changes
    and the first sum is non-finite.

    Args:
        net: A built net.
        optimizer: Built on the net's trainable variables.
        batch_size: Examples per batch.
        weight_decay: L2 weight decay per update, 0 for none.
        settings: See `training_loss`.

    Returns:
        Function (state, images, labels) -> (state, array of the three `sums`), where a
        state lists the values of `state_variables`.
    """
    weights, statistics, slots = _parts(net, optimizer)

    def update(state, images, labels):
        first, second = len(weights), len(weights) + len(statistics)
        values, others, kept = state[:first], state[first:second], state[second:]
        read = set()

        def loss(values):
            given = [*zip(weights, values, strict=True)]
            given += zip(statistics, others, strict=True)
            with _Reads(read, given) as scope:
                given = net, images, labels
                total, losses, logits, penalty = training_loss(*given, **settings)
                mean = total / batch_size
                if penalty is not None:
                    mean = mean + penalty.astype(mean.dtype)
                found = sums(losses, logits, labels)
                after = [scope.get_current_value(variable) for variable in statistics]
            return mean, (after, jnp.stack(found))

        found, (after, totals) = jax.grad(loss, has_aux=True)(values)
        found = [
            g + weight_decay * w if id(variable) in read else g
            for g, w, variable in zip(found, values, weights, strict=True)
        ]
        squares = sum(jnp.sum(jnp.square(g.astype("float32"))) for g in found)
        new, kept_after = optimizer.stateless_apply(kept, found, values)
        finite = jnp.isfinite(totals[0] + squares)
        after = [
            jnp.where(finite, n, o)
            for n, o in zip([*new, *after, *kept_after], state, strict=True)
        ]
        return after, totals.at[0].set(jnp.where(finite, totals[0], jnp.nan))

    return update


def state_variables(net, optimizer) -> list:
    """Lists, in order, the variables of net and optimizer that an update changes."""
    return [variable for part in _parts(net, optimizer) for variable in part]


def _parts(net, optimizer):
    return net.trainable_variables, net.non_trainable_variables, optimizer.variables


class _Reads(keras.StatelessScope):
    """A scope that records the ids of the variables read inside it."""

    def __init__(self, read, state_mapping):
        super().__init__(state_mapping, collect_losses=True)
        self.read = read

    def get_current_value(self, variable):
        self.read.add(id(variable))
        return super().get_current_value(variable)


def training_program(net, optimizer, **settings):
    """Compiles `update_function` to act on the variables themselves.

    Returns:
        Function (images, labels, flag) -> array of the three `sums` and the flag.
    """
    variables = state_variables(net, optimizer)
    update = jax.jit(update_function(net, optimizer, **settings), donate_argnums=0)

    def program(images, labels, flag=False):
        state = [variable.value for variable in variables]
        after, totals = update(state, np.asarray(images), np.asarray(labels))
        for variable, value in zip(variables, after, strict=True):
            variable.assign(value)
        return np.array([*np.asarray(totals), float(flag)])

    return program


def evaluation_program(net):
    """Compiles the evaluation of a batch.

    Returns:
        Function (images, labels, flag) -> array of the three `sums` and the flag.
    """
    variables = net.variables

    @jax.jit
    def score(state, images, labels):
        given = zip(variables, state, strict=True)
        with keras.StatelessScope(state_mapping=given):
            return eval_step(net, images, labels)

    def program(images, labels, flag=False):
        state = [variable.value for variable in variables]
        totals = score(state, np.asarray(images), np.asarray(labels))
        return np.array([*np.asarray(totals), float(flag)])

    return program
