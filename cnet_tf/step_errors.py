"""Finds where a net solves its equation worst: the error of each block and each step.

Step doubling, on the states that reach the blocks for given inputs:

    error of a block   |x_N - x_2N| / |x_2N|
    of its step n      |S_h x_n - S_h/2 S_h/2 x_n| / |x_2N|,   S_h one step of size h

Norms are over the whole batch. The blocks with the largest errors grow (`marked`);
`gain` tells whether the steps of a block should have different lengths.

References: Doerfler 1996, "A convergent adaptive algorithm for Poisson's equation"; de
Boor 1973, "Good approximation by splines with variable knots".
"""

import dataclasses
import itertools
import math
from fractions import Fraction

import numpy as np

from cnet_tf.runge_kutta import integrate, stage_times, step
from cnet_tf.surgery import chosen_blocks
from cnet_tf.tableaus import get_scheme
from cnet_tf.trajectory import TappedNet, rate_of, squares


@dataclasses.dataclass(frozen=True)
class BlockError:
    """The errors of a block, relative to the norm of the state after it.

    Attributes:
        block: Its name.
        error: Error of that state.
        of_steps: Error of each of its N steps alone.
        order: p, the order of its scheme.
    """

    block: str
    error: float
    of_steps: tuple[float, ...]
    order: int

    @property
    def gain(self) -> float:
        """See `gain`."""
        return gain(self.of_steps, self.order)


def block_errors(net, inputs) -> list[BlockError]:
    """Estimates the errors of every block of a net in inference, in order.

    Args:
        net: A built functional or Sequential model with `ContinuousBlock`s in it.
        inputs: A batch of inputs of the net.

    Raises:
        ValueError: the model is unsupported, or has no blocks.
    """
    return [block_error(*start) for start in starts(net, inputs)]


def starts(net, inputs) -> list[tuple]:
    """Returns (block, x(0), mask) for every block, in order; see `block_errors`."""
    blocks, tapped = chosen_blocks(net), TappedNet(net)
    found = dict(zip(map(id, tapped.flows), tapped.starts(inputs), strict=True))
    return [(block, *found[id(block)]) for block in blocks]


def block_error(block, x, mask=None) -> BlockError:
    """Estimates the errors of a block for its input."""
    rate, scheme = rate_of(block, mask), get_scheme(block.scheme)

    def one_step(x, n, steps):
        h = Fraction(block.horizon) / steps
        return step(scheme, rate, x, stage_times(scheme, n, steps), h)

    def two_steps(x, n):
        return one_step(one_step(x, 2 * n, 2 * block.steps), 2 * n + 1, 2 * block.steps)

    fine, of_steps = x, []
    for n in range(block.steps):
        fine = two_steps(fine, n)
        halves, x = two_steps(x, n), one_step(x, n, block.steps)
        of_steps.append(_norm(x, halves))
    scale = max(_norm(fine), 1e-30)
    relative = tuple(error / scale for error in of_steps)
    return BlockError(block.name, _norm(x, fine) / scale, relative, scheme.order)


def _norm(x, other=None) -> float:
    others = None if other is None else [other]
    return math.sqrt(squares([x], others).sum())


def marked(errors, bulk=0.5) -> list[int]:
    """Returns the places of the fewest numbers whose squares reach a share of the sum.

    Args:
        errors: Numbers >= 0; non-finite ones count as larger than any other.
        bulk: Share of the sum of all squares, in (0, 1]. Default 0.5.

    Returns:
        At least one place, in increasing order; of equal numbers the first ones.
    """
    squared = [e * e if math.isfinite(e) else math.inf for e in errors]
    found, rest = [], bulk * math.fsum(squared)
    for place in sorted(range(len(squared)), key=lambda i: -squared[i]):
        found.append(place)
        rest -= squared[place]
        if not rest > 0:
            break
    return sorted(found)


def gain(of_steps, order) -> float:
    """Returns how many times smaller a block's error is on the best grid of N steps.

    A step of length h has an error of C h^(p+1). The sum over the steps is smallest if
    all have the same error, h ~ C^(-1/(p+1)) (equidistribution). With errors e_n of
    equal steps, the sum becomes

        sum e_n  ->  N (sum e_n^(1/(p+1)) / N)^(p+1),

    which is at most N^p times smaller, and no smaller if all e_n are equal.

    Args:
        of_steps: The e_n.
        order: p.
    """
    e = np.asarray(of_steps, "float64")
    if not e.any():
        return 1.0
    return float(e.mean() / np.mean(e ** (1 / (order + 1))) ** (order + 1))


def even_grid(of_steps, order, cells=1) -> list[Fraction]:
    """Returns the borders 0 = t_0 < .. < t_N = 1 of a grid that evens out the errors.

    The borders of the cells are among them: theta may jump between cells, and a step
    across a jump has a far larger error than others. The N steps are shared among the
    cells to even out the errors, with at least one for each cell, and then placed to
    even them out within each cell.

    Args:
        of_steps, order: See `gain`.
        cells: K, which divides N. Default 1.
    """
    e = np.maximum(np.asarray(of_steps, "float64"), 1e-30).reshape(cells, -1)
    density = e ** (1 / (order + 1))
    counts = np.ones(cells, int)
    for _ in range(e.size - cells):
        counts[np.argmax(density.sum(axis=1) / counts)] += 1
    borders = [Fraction(0)]
    for k, (row, count) in enumerate(zip(density, counts, strict=True)):
        reached = np.array([0, *row.cumsum()]) / row.sum()
        parts = np.linspace(0, 1, count + 1)[1:-1]
        inner = np.interp(parts, reached, np.linspace(0, 1, len(reached)))
        borders += [(k + Fraction(t)) / cells for t in (*inner, 1)]
    return borders


def on_grid(block, x, mask, borders, scheme=None):
    """Returns the output of a block for x, by one step from each border to the next.

    Args:
        block: A built `ContinuousBlock`.
        x, mask: Its input; the mask may be None.
        borders: 0 = t_0 < .. < t_N = 1, Fractions; theta is read at the stage times.
        scheme: Name of a scheme. Default: the block's.
    """
    rate = rate_of(block, mask, "point")
    for start, end in itertools.pairwise(borders):
        x = integrate(scheme or block.scheme, rate, x, 1, start, end, block.horizon)
    return x


def measured_gain(found, block, x, mask=None) -> float:
    """Measures how many times smaller the error of a block is on `even_grid`.

    The reference is RK4 with four times as many steps.

    Args:
        found: The `block_error` of the same block and input.
        block: A block whose N is a multiple of its K.
        x, mask: See `on_grid`.
    """
    equal, finer = (
        [Fraction(i, n) for i in range(n + 1)] for n in (block.steps, 4 * block.steps)
    )
    even = even_grid(found.of_steps, found.order, block.basis.cells)
    exact = on_grid(block, x, mask, finer, "rk4")
    here, there = (
        _norm(on_grid(block, x, mask, borders), exact) for borders in (equal, even)
    )
    return here / there if there else 1.0
