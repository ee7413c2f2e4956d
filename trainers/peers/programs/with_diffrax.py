"""The nets in JAX, with blocks that diffrax integrates, one cell at a time.

A rate in diffrax has no side effects, so the norms within blocks keep no running
statistics, which saves it that work.
"""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import turns
from jax import lax
from with_jax import trainer, unit


class RK4(diffrax.AbstractERK):
    """The classic rule, which diffrax lacks."""

    tableau = diffrax.ButcherTableau(
        c=np.array([0.5, 0.5, 1.0]),
        b_sol=np.array([1, 2, 2, 1]) / 6,
        b_error=np.zeros(4),
        a_lower=(
            np.array([0.5]),
            np.array([0.0, 0.5]),
            np.array([0.0, 0.0, 1.0]),
        ),
    )
    interpolation_cls = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k

    def order(self, terms):
        return 4


SOLVERS = {"euler": diffrax.Euler, "rk4": RK4}


def stacked(cells):
    """Stacks cells along a first axis, for `scan`."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *cells)


def integrated(solver, weights, stats, x):
    """dx/dt = eps R(theta(t), x) with eps = K in time units of a cell."""
    # Norms read the batch, so only the shapes of the statistics are used.
    unread = jax.tree.map(lambda leaf: leaf[0], stats)
    term = diffrax.ODETerm(lambda t, y, cell: unit(cell, unread, y)[0])

    def over_cell(x, cell):
        found = diffrax.diffeqsolve(term, solver, 0, 1, 1, x, cell, max_steps=1)
        return found.ys[0], None

    return lax.scan(over_cell, x, weights)[0], stats


def make(session):
    solver = SOLVERS[session.job.scheme]()
    return trainer(session, lambda *state: integrated(solver, *state), stacked)


if __name__ == "__main__":
    turns.serve(make)
