"""Exact matrices between parameter series: refinement and projection.

    sum_k phi_k theta_k  =  sum_j phi'_j (P theta)_j

The L2 projection onto another basis is P = M'^-1 X, where M' is the mass matrix of that
basis and X the mixed one. A space contains another if and only if the projection keeps
the L2 norm, P^T M' P = M: nestedness is derived, not declared. For nodal bases the
refinement matrix is then P[j, k] = phi_k(tau_j).
"""

import functools
from fractions import Fraction

from cnet_tf.basis import Basis, get_basis
from cnet_tf.checks import positive_integer


@functools.lru_cache(maxsize=256)
def projection(source: Basis, target: Basis) -> tuple[tuple[Fraction, ...], ...]:
    """Returns the exact L2 projection P (K' x K) of `source` series onto `target`."""
    if source == target:
        return _identity(source.size)
    return _solve(target.mass(), target.mass(source))


@functools.lru_cache(maxsize=256)
def prolongation(source: Basis, target: Basis) -> tuple[tuple[Fraction, ...], ...]:
    """Returns the matrix P (K' x K) that leaves theta(t) unchanged.

    Raises:
        ValueError: the target space does not contain the source space; `projection`
            works between any two bases.
    """
    p = projection(source, target)
    kept = _product(_transpose(p), _product(target.mass(), p))
    if kept != source.mass():
        raise ValueError(
            f"basis: expected a space that contains basis {source.kind!r} with "
            f"{source.size} nodes. Received {target.kind!r} with {target.size} nodes, "
            "which is not nested: theta(t) would change. Use projection (`project`)."
        )
    return p


def refined(basis: Basis, factor: int) -> Basis:
    """Returns the basis of the same kind, `factor` times finer, that contains this one.

    K -> factor K: cells are `factor` times smaller, or there are `factor` times as many
    Legendre polynomials. For hats K -> factor (K - 1) + 1.

    Raises:
        ValueError: the factor is not an integer >= 1.
    """
    factor, size = positive_integer("factor", factor), basis.size
    size = factor * (size - 1) + 1 if basis.kind == "hat" else factor * size
    return get_basis(basis.kind, size)


def unity(basis: Basis) -> tuple[Fraction, ...]:
    """Returns the coefficients of the function that is 1 everywhere."""
    return tuple(row[0] for row in prolongation(get_basis("constant", 1), basis))


def _identity(n):
    return tuple(tuple(Fraction(int(i == j)) for j in range(n)) for i in range(n))


def _transpose(m):
    return tuple(zip(*m, strict=True))


def _product(a, b):
    columns = _transpose(b)
    return tuple(
        tuple(
            sum((x * y for x, y in zip(row, col, strict=True) if x and y), Fraction(0))
            for col in columns
        )
        for row in a
    )


def _solve(matrix, right):
    """Solves by Gauss-Jordan; symmetric positive definite matrices need no pivoting."""
    n = len(matrix)
    rows = [[*m, *r] for m, r in zip(matrix, right, strict=True)]
    for i in range(n):
        pivot = rows[i][i]
        rows[i] = [x / pivot if x else x for x in rows[i]]
        for j in range(n):
            factor = rows[j][i]
            if j != i and factor:
                rows[j] = [
                    x - factor * y if y else x
                    for x, y in zip(rows[j], rows[i], strict=True)
                ]
    return tuple(tuple(row[n:]) for row in rows)
