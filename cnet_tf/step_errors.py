"""Where a net solves its equation worst: the error of each block and of each step.

Step doubling, on the states that inputs bring to the blocks:

    error of a block   |x_N - x_2N| / |x_2N|
    of its step n      |S_h x_n - S_h/2 S_h/2 x_n| / |x_2N|,   S_h one step of size h

with norms over the whole batch. A block grows where that is largest (`marked`); whether
its steps should be of different lengths is what `gain` tells.

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
    """What is wrong with a block; relative to the norm of the state after it.

    Attributes:
        block: Its name.
        error: Of that state.
        of_steps: Of each of its N steps alone.
        order: p, of its scheme.
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
    """The estimates for every block of a net, in order, in inference.

    Args:
        net: A built functional or Sequential model with `ContinuousBlock`s in it.
        inputs: A batch of inputs of the net.

    Raises:
        ValueError: no such model, or it has no blocks.
    """
    return [block_error(*start) for start in starts(net, inputs)]


def starts(net, inputs) -> list[tuple]:
    """(block, x(0), mask) for every block of a net, in order; see `block_errors`."""
    blocks, tapped = chosen_blocks(net), TappedNet(net)
    found = dict(zip(map(id, tapped.flows), tapped.starts(inputs), strict=True))
    return [(block, *found[id(block)]) for block in blocks]


def block_error(block, x, mask=None) -> BlockError:
    """The estimates for a block and its input."""
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
    """The fewest numbers whose squares add up to that part of all: their places.

    Args:
        errors: Numbers >= 0; what is not finite is larger than any.
        bulk: In (0, 1]. Default 0.5.

    Returns:
        At least one place, in increasing order; of equal numbers the first.
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
    """How many times smaller the error of a block is on the best grid of N steps.

    A step of length h errs by C h^(p+1), and the sum of that is least where all steps
    err alike, h ~ C^(-1/(p+1)) (equidistribution). Errors e_n of equal steps become

        sum e_n  ->  N (sum e_n^(1/(p+1)) / N)^(p+1),

    which is N^p times smaller at most, and no smaller if all are equal.

    Args:
        of_steps: The e_n.
        order: p.
    """
    e = np.asarray(of_steps, "float64")
    if not e.any():
        return 1.0
    return float(e.mean() / np.mean(e ** (1 / (order + 1))) ** (order + 1))


def even_grid(of_steps, order, cells=1) -> list[Fraction]:
    """The borders 0 = t_0 < .. < t_N = 1 of that grid, those of the cells among them.

    Theta may jump between cells, and a step over a jump errs far more than others.
    Each cell has as many of the N steps as even them out, at least one, and spreads
    them evenly again.

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
    """What a block gives for x by one step from each border to the next.

    Args:
        block: A built `ContinuousBlock`.
        x, mask: Its input; the mask may be None.
        borders: 0 = t_0 < .. < t_N = 1, Fractions; theta is read at the stage times.
        scheme: Default: the block's.
    """
    rate = rate_of(block, mask, "point")
    for start, end in itertools.pairwise(borders):
        x = integrate(scheme or block.scheme, rate, x, 1, start, end, block.horizon)
    return x


def measured_gain(found, block, x, mask=None) -> float:
    """How many times smaller the error of a block is on `even_grid`, in fact.

    Against RK4 of four times as many steps.

    Args:
        found: The `block_error` of the same.
        block: Its N is a multiple of its K.
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
