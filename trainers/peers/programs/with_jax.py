"""The nets in JAX: own layers, own steps, the whole training step under `jit`."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import turns
from jax import lax
from jax.extend.core import jaxprs_in_params

# NumPy's generator, as JAX would compile a draw for every shape.
random = np.random.default_rng(0)


def normal(scale, *shape):
    return jnp.asarray(scale * random.normal(size=shape), jnp.float32)


def conv_of(inputs, width, size=3, bias=True):
    kernel = normal(math.sqrt(2 / (size**2 * width)), size, size, inputs, width)
    return {"kernel": kernel, **({"bias": jnp.zeros(width)} if bias else {})}


def norm_of(width):
    """Returns weights and running statistics."""
    weights = {"gamma": jnp.ones(width), "beta": jnp.zeros(width)}
    return weights, {"mean": jnp.zeros(width), "variance": jnp.ones(width)}


def conv(weights, x, stride=1):
    size = weights["kernel"].shape[0]
    y = lax.conv_general_dilated(
        *(x, weights["kernel"], (stride, stride), [(size // 2, size // 2)] * 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y + weights["bias"] if "bias" in weights else y


def norm(weights, stats, x):
    """Returns (y, running statistics after it)."""
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    scale = weights["gamma"] * lax.rsqrt(variance + 1e-5)
    moved = {
        "mean": 0.9 * stats["mean"] + 0.1 * mean,
        "variance": 0.9 * stats["variance"] + 0.1 * variance,
    }
    return (x - mean) * scale + weights["beta"], moved


def unit_of(width):
    """R: conv, ReLU, norm, twice."""
    norms = [norm_of(width) for _ in range(2)]
    weights = {
        "convs": [conv_of(width, width) for _ in norms],
        "norms": [weights for weights, _ in norms],
    }
    return weights, [stats for _, stats in norms]


def unit(weights, stats, x):
    moved = []
    for one, other, found in zip(
        weights["convs"], weights["norms"], stats, strict=True
    ):
        x, found = norm(other, found, jax.nn.relu(conv(one, x)))
        moved.append(found)
    return x, moved


def transition_of(inputs, width):
    weights, stats = norm_of(width)
    return {
        "skip": conv_of(inputs, width, 1, bias=False),
        "convs": [conv_of(inputs, width), conv_of(width, width)],
        "norm": weights,
    }, stats


def transition(weights, stats, x, stride):
    first, second = weights["convs"]
    y, moved = norm(weights["norm"], stats, jax.nn.relu(conv(first, x, stride)))
    return conv(weights["skip"], x, stride) + jax.nn.relu(conv(second, y)), moved


# Steps of length 1: eps = K = N. Every stage of a step reads the step's own cell.


def euler(weights, stats, x):
    k, stats = unit(weights, stats, x)
    return x + k, stats


def rk4(weights, stats, x):
    k1, stats = unit(weights, stats, x)
    k2, stats = unit(weights, stats, x + k1 / 2)
    k3, stats = unit(weights, stats, x + k2 / 2)
    k4, stats = unit(weights, stats, x + k3)
    return x + (k1 + 2 * k2 + 2 * k3 + k4) / 6, stats


SCHEMES = {"euler": euler, "rk4": rk4}


def stepped(step, weights, stats, x):
    """Runs a block: its cells one after the other."""
    moved = []
    for cell, found in zip(weights, stats, strict=True):
        x, found = step(cell, found, x)
        moved.append(found)
    return x, moved


def net_of(nodes):
    """Returns weights and running statistics of a net."""
    inputs = turns.WIDTHS[0]
    weights, stats = {"stem": conv_of(3, inputs, bias=False)}, {}
    weights["norm"], stats["norm"] = norm_of(inputs)
    for i, width in enumerate(turns.WIDTHS):
        found = transition_of(inputs, width)
        weights[f"transition_{i}"], stats[f"transition_{i}"] = found
        cells = [unit_of(width) for _ in range(nodes)]
        weights[f"block_{i}"] = [cell for cell, _ in cells]
        stats[f"block_{i}"] = [cell for _, cell in cells]
        inputs = width
    weights["head"] = normal(1 / math.sqrt(inputs), inputs, turns.CLASSES)
    return {**weights, "bias": jnp.zeros(turns.CLASSES)}, stats


def logits_of(block, weights, stats, x):
    """Returns (logits, running statistics after them).

    `block` is a function like `stepped` with its step given.
    """
    moved = {}
    x, moved["norm"] = norm(weights["norm"], stats["norm"], conv(weights["stem"], x))
    x = jax.nn.relu(x)
    for i in range(len(turns.WIDTHS)):
        name = f"transition_{i}"
        x, moved[name] = transition(weights[name], stats[name], x, 2 if i else 1)
        name = f"block_{i}"
        x, moved[name] = block(weights[name], stats[name], x)
    return x.mean((1, 2)) @ weights["head"] + weights["bias"], moved


def macs(run, *arguments):
    """Counts multiply-adds of convolutions and products in a function, with loops."""

    def count(jaxpr):
        total = 0
        for eqn in jaxpr.eqns:
            out = eqn.outvars[0].aval.shape if eqn.outvars else ()
            if eqn.primitive.name == "conv_general_dilated":
                total += math.prod(out) * math.prod(eqn.invars[1].aval.shape[:-1])
            elif eqn.primitive.name == "dot_general":
                total += math.prod(out) * eqn.invars[1].aval.shape[0]
            times = eqn.params.get("length", 1)
            for inner in jaxprs_in_params(eqn.params):
                total += times * count(inner)
        return total

    return count(jax.make_jaxpr(run)(*arguments).jaxpr)


def size(block, weights, stats):
    one = jnp.zeros((1, 32, 32, 3))
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(weights)),
        "macs": macs(lambda *state: logits_of(block, *state), weights, stats, one),
    }


def trainer(session, block, arrange=lambda cells: cells):
    """Returns a function that makes a step.

    Args:
        session: As `turns.serve` gives it.
        block: Function of weights, statistics and x of a block to x and statistics.
        arrange: Function of the list of a block's cells to what `block` takes.
    """
    job = session.job
    weights, stats = net_of(job.nodes)
    for i in range(len(turns.WIDTHS)):
        for tree in (weights, stats):
            tree[f"block_{i}"] = arrange(tree[f"block_{i}"])
    state = [weights, stats, jax.tree.map(jnp.zeros_like, weights)]
    images = normal(1, job.batch, 32, 32, 3)
    labels = jnp.asarray(random.integers(turns.CLASSES, size=job.batch))
    a, b = (normal(1, turns.SIZE, turns.SIZE) for _ in range(2))
    product = jax.jit(jnp.matmul)
    product(a, b).block_until_ready()

    def loss_of(weights, stats):
        logits, moved = logits_of(block, weights, stats, images)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)
        return -chosen.mean(), moved

    def update(weights, stats, velocity):
        (loss, moved), found = jax.value_and_grad(loss_of, has_aux=True)(weights, stats)
        velocity = jax.tree.map(
            lambda v, g, w: turns.MOMENTUM * v + g + turns.WEIGHT_DECAY * w,
            *(velocity, found, weights),
        )
        weights = jax.tree.map(
            lambda w, v: w - turns.LEARNING_RATE * v, weights, velocity
        )
        return weights, moved, velocity, loss

    update = jax.jit(update, donate_argnums=(0, 1, 2))

    def step():
        *state[:], loss = update(*state)
        return float(loss)

    session.answers["sgemm"] = lambda: turns.seconds(
        lambda: product(a, b).block_until_ready()
    )
    session.answers["size"] = lambda: size(block, *state[:2])
    return step


def make(session):
    step = SCHEMES[session.job.scheme]
    return trainer(session, lambda *state: stepped(step, *state))


if __name__ == "__main__":
    turns.serve(make)
