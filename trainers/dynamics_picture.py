"""Draws error over step size, log-log: a panel for each motion and scheme."""

import numpy as np

from cnet_tf.tableaus import get_scheme
from trainers import results


def png(curves) -> bytes:
    """Draws a PNG of `dynamics.Curve`s.

    Lines are means over seeds, bands span the smallest to the largest, stars mark
    h = D, and the dotted line has the slope of h^p.
    """
    motions = list(dict.fromkeys(curve.motion for curve in curves))
    schemes = list(dict.fromkeys(curve.scheme for curve in curves))
    spacings = sorted({curve.spacing for curve in curves}, reverse=True)
    figure = results.figure(3.4 * len(schemes) + 0.6, 3.2 * len(motions) + 0.4)
    panels = figure.subplots(
        len(motions), len(schemes), sharex=True, sharey="row", squeeze=False
    )
    for curve in curves:
        axes = panels[motions.index(curve.motion)][schemes.index(curve.scheme)]
        _draw(axes, curve, f"C{spacings.index(curve.spacing)}", spacings[-1])
    for row, motion in zip(panels, motions, strict=True):
        row[0].set_ylabel(f"{motion}: error at T")
        for axes, scheme in zip(row, schemes, strict=True):
            axes.set_title(f"learned through {scheme}")
            axes.grid(alpha=0.3)
            drawn = [
                c.errors for c in curves if (c.motion, c.scheme) == (motion, scheme)
            ]
            finite = np.concatenate([errors.ravel() for errors in drawn])
            finite = finite[np.isfinite(finite) & (finite > 0)]
            # Clipped: a large step may blow up, and the fit is exact at h = D.
            axes.set_ylim(max(1e-8, finite.min() / 3), min(100, 3 * finite.max()))
    for axes in panels[-1]:
        axes.set_xlabel("step h")
    panels[0][0].legend(fontsize="small")
    return results.png_of(figure)


def _draw(axes, curve, color, least):
    mean = curve.errors.mean(axis=1)
    axes.loglog(curve.steps, mean, color=color, label=f"D = {curve.spacing:g}")
    axes.fill_between(
        curve.steps,
        curve.errors.min(axis=1),
        curve.errors.max(axis=1),
        color=color,
        alpha=0.25,
    )
    at = np.argmin(abs(curve.steps - curve.spacing))
    axes.plot(curve.steps[at], mean[at], "*", color=color, markersize=11)
    # Through the first point above the floor, where the curve has just begun to rise.
    above = np.flatnonzero(mean > 3 * mean[-1])
    if curve.spacing == least and len(above):
        last, order = above[-1], get_scheme(curve.scheme).order
        slope = mean[last] * (curve.steps / curve.steps[last]) ** order
        axes.plot(curve.steps, slope, ":", color="black", linewidth=0.8)
