"""Polynomials with exact coefficients, lowest power first, as plain tuples."""

from fractions import Fraction


def evaluate(p, t):
    """Returns p(t)."""
    value = Fraction(0)
    for coefficient in reversed(p):
        value = value * t + coefficient
    return value


def add(p, q):
    """Returns p + q."""
    if len(p) < len(q):
        p, q = q, p
    return tuple(c + (q[i] if i < len(q) else 0) for i, c in enumerate(p))


def scale(p, factor):
    """Returns factor * p."""
    return tuple(factor * c for c in p)


def multiply(p, q):
    """Returns p * q."""
    product = [Fraction(0)] * (len(p) + len(q) - 1)
    for i, c in enumerate(p):
        for j, d in enumerate(q):
            product[i + j] += c * d
    return tuple(product)


def integrate(p, low, high):
    """Returns the integral of p over [low, high]."""
    primitive = (Fraction(0), *(c / (i + 1) for i, c in enumerate(p)))
    return evaluate(primitive, high) - evaluate(primitive, low)


def line(zero, one):
    """Returns the line that is 0 at `zero` and 1 at `one`."""
    slope = 1 / Fraction(one - zero)
    return (-zero * slope, slope)
