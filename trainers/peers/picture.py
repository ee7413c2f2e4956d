"""Draws the tables of a comparison."""

from trainers import results
from trainers.peers.table import PEERS


def speeds(rows: list[dict]) -> bytes:
    """Draws images/s as bars with their spread, one panel per net."""
    nets = list(dict.fromkeys(row["net"] for row in rows))
    figure = results.figure(3 + 3 * len(nets), 4)
    panels = figure.subplots(1, len(nets), squeeze=False)[0]
    for axes, net in zip(panels, nets, strict=True):
        shown = [row for row in rows if row["net"] == net][::-1]
        speed = [row["images_per_second"] for row in shown]
        spread = [
            [row["images_per_second"] - row["lowest"] for row in shown],
            [row["highest"] - row["images_per_second"] for row in shown],
        ]
        colors = ["C1" if row is shown[-1] else "C0" for row in shown]
        titles = [PEERS[row["peer"]].title for row in shown]
        axes.barh(titles, speed, xerr=spread, color=colors)
        axes.set(title=net, xlabel="training, images/s")
    return results.png_of(figure)


def starts(rows: list[dict]) -> bytes:
    """Draws start and memory over K, one line per peer."""
    figure = results.figure(10, 4)
    left, right = figure.subplots(1, 2)
    for name in dict.fromkeys(row["peer"] for row in rows):
        mine = [row for row in rows if row["peer"] == name]
        nodes = [row["nodes"] for row in mine]
        title = PEERS[name].title
        left.plot(nodes, [row["start_s"] for row in mine], "o-", label=title)
        right.plot(nodes, [row["memory_mb"] for row in mine], "o-")
    for axes, text in ((left, "start to the first step, s"), (right, "peak, MB")):
        axes.set_xscale("log", base=2)
        axes.set(xlabel="K = N", ylabel=text, yscale="log")
        axes.grid(alpha=0.3)
    left.legend(fontsize="small")
    return results.png_of(figure)
