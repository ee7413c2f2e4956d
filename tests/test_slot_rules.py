"""What the rules claim: bounds that hold for every P, and what is kept exactly."""

import keras
import numpy as np
import pytest
from optimizer_zoo import RATE, K, carried, trained, values

from cnet_tf.slot_rules import Mapped

RNG = np.random.default_rng(0)
P = RNG.normal(size=(5, 4))


def slots_of(**slots):
    return Mapped(P, slots, keras.Variable(np.zeros(4)), None)


def test_roots_of_mean_squares_are_bounds():
    """rms(P g) <= |P| rms(g), with equality for one g times the signs of a row."""
    g = RNG.normal(size=(100, 4, 3))
    bound = slots_of(v=np.mean(g**2, axis=0), u=np.max(np.abs(g), axis=0))
    image = np.einsum("jk,nkc->njc", P, g)
    assert np.all(np.mean(image**2, axis=0) <= bound.square("v"))
    assert np.all(np.max(np.abs(image), axis=0) <= bound.magnitude("u"))
    signs = np.sign(P[2])[None, :, None] * g[:, :1]
    tight = slots_of(v=np.mean(signs**2, axis=0)).square("v")[2]
    np.testing.assert_allclose(np.mean((P[2] @ signs) ** 2, axis=0), tight)


def test_ratios_and_orders_are_kept():
    """|m| <= c sqrt(v), amsgrad's maximum above v, and m^2 <= v (centered RMSprop)."""
    m, extra = RNG.normal(size=(4, 3)), RNG.uniform(size=(4, 3))
    mapped = slots_of(m=m, v=m**2, hat=m**2 + extra)
    assert np.all(mapped.linear("m") ** 2 <= mapped.square("v") + 1e-12)
    assert np.all(mapped.square("hat") >= mapped.square("v"))


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2)])
def test_factors_of_adafactor_are_those_of_the_mapped_second_moment(shape):
    """v = r c / mean(r): of a matrix, the image has rank one again and is matched."""
    v = np.einsum("k...,c->k...c", RNG.uniform(size=shape[:-1]), RNG.uniform(size=2))
    r, c = v.mean(axis=-1), v.mean(axis=-2)
    mapped = slots_of(v=v, _r=r, _c=c)
    new = mapped.square("v")
    if v.ndim == 2:
        np.testing.assert_allclose(mapped.row("_r"), new.mean(axis=-1))
        np.testing.assert_allclose(mapped.column("_c"), new.mean(axis=-2))
    else:
        assert np.all(mapped.row("_r") >= new.mean(axis=-1) - 1e-12)
        assert np.all(mapped.column("_c") >= new.mean(axis=-2) - 1e-12)


def test_factors_of_adafactor_before_any_gradient():
    zero = slots_of(_r=np.zeros(4), _c=np.zeros(3))
    assert np.all(zero.column("_c") == 0)
    # Vectors are not factored: placeholders without axes.
    assert slots_of(_r=np.zeros(())).row("_r") == 0


@pytest.mark.parametrize("power", [-0.5, -0.3])
def test_ftrl_stands_for_the_mapped_weights(power):
    """w = -z / (n^-p / lr + 2 l2 + beta / lr), before and after."""
    settings = {"beta": 0.1, "l2_regularization_strength": 0.2}
    optimizer = K.Ftrl(RATE, learning_rate_power=power, **settings)
    new, twin = carried(optimizer, trained(optimizer, 4), P)
    for v, n, z in zip(new, twin._accumulators, twin._linears, strict=True):
        v, n, z = values([v, n, z])
        w = -z / (n**-power / RATE + 0.4 + 0.1 / RATE)
        np.testing.assert_allclose(w, v, rtol=1e-4, atol=1e-6)
