"""Replicas train like one device, over a refinement; wrong clusters are refused.

In float64: rounding that float32 adds grows a thousandfold in a few updates, so that a
small mistake would look like it.
"""

import dataclasses
import json
import types

import numpy as np
import pytest
import tensorflow as tf

from cnet_tf import checkpoint
from cnet_tf.kernels import normalize_batch
from cnet_tf.surgery import blocks_of
from trainers import fit, strategy
from trainers.errors import OptionError
from trainers.options import Options


@pytest.fixture(scope="module")
def options(short_run):
    return short_run(
        batches_per_epoch=3,
        refine_epochs=(1,),
        precision="float64",
        sync_batch_norm=True,
    )


def trained(options):
    """Every number that the run leaves, and its scores."""
    summary = fit.fit(options)
    net = checkpoint.load(f"{summary['run']}/net").net
    assert [block.steps for block in blocks_of(net)] == [2]
    return net.get_weights(), summary


@pytest.fixture(scope="module")
def alone(options):
    return trained(options)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one_device", "mirrored"])
def test_every_strategy_trains_like_none_over_a_refinement(options, alone, name):
    expected, before = alone
    found, after = trained(dataclasses.replace(options, strategy=name))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    # 355 test images on two replicas: one has an image more.
    assert after["test_accuracy"] == before["test_accuracy"]
    np.testing.assert_allclose(after["test_loss"], before["test_loss"], rtol=1e-6)


@pytest.mark.slow
def test_without_synchronised_norms_replicas_train_otherwise(options, alone):
    """So the test above can fail."""
    apart = dataclasses.replace(options, strategy="mirrored", sync_batch_norm=False)
    found, _ = trained(apart)
    differences = [np.abs(a - b) for a, b in zip(alone[0], found, strict=True)]
    assert max(map(np.max, differences)) > 1e-3


def test_synchronised_norms_are_those_of_the_whole_batch():
    """Values, moments and gradients, with means far from zero and apart."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 3, 3, 5)) + 1e3
    x[4:] += 2.0
    gamma, beta = rng.normal(size=(2, 5))
    probe = tf.constant(rng.normal(size=x.shape))

    def values(x, probe, synchronized=False):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, mean, variance = normalize_batch(
                x, tf.constant(gamma), tf.constant(beta), 1e-5, synchronized
            )
            loss = tf.reduce_sum(probe * y) + tf.reduce_sum(y**3)
        return y, mean, variance, tape.gradient(loss, x)

    whole = values(tf.constant(x), probe)
    mirrored = strategy.make_strategy(Options(strategy="mirrored"))

    def part(context):
        half = slice(4 * context.replica_id_in_sync_group, None)
        return tf.constant(x)[half][:4], probe[half][:4]

    parts = mirrored.experimental_distribute_values_from_function(part)
    found = mirrored.run(
        tf.function(lambda p: values(*p, synchronized=True)), args=(parts,)
    )
    y, mean, variance, gradient = (
        mirrored.experimental_local_results(v) for v in found
    )
    np.testing.assert_allclose(tf.concat(y, 0), whole[0], rtol=1e-7)
    for moments, expected in ((mean, whole[1]), (variance, whole[2])):
        for moment in moments:
            np.testing.assert_allclose(moment, expected, rtol=1e-9)
    np.testing.assert_allclose(tf.concat(gradient, 0), whole[3], rtol=1e-6, atol=1e-9)


def test_more_replicas_than_devices_are_refused():
    with pytest.raises(OptionError, match="--replicas: expected at most 2"):
        strategy.make_strategy(Options(strategy="mirrored", replicas=3))


CLUSTER = {"worker": ["a:1", "b:1"]}


@pytest.mark.parametrize(
    "config, message",
    [
        (None, "Received none"),
        ("{", "Received '{'"),
        ("[]", "Received "),
        ({"cluster": CLUSTER}, "Received "),
        ({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}, "task 2 of 2"),
        ({"cluster": CLUSTER, "task": {"type": "chief", "index": 0}}, "Received "),
        ({"cluster": CLUSTER, "task": {"type": "worker", "index": "0"}}, "Received "),
        ({"cluster": CLUSTER, "task": {"type": "worker", "index": 1.0}}, "Received "),
        (
            {
                "cluster": {"worker": ["a:1", "a:1"]},
                "task": {"type": "worker", "index": 0},
            },
            "Received ",
        ),
        (
            {"cluster": {**CLUSTER, "ps": ["c:1"]}, "task": {"type": "ps", "index": 0}},
            "only chief and worker",
        ),
    ],
)
def test_a_cluster_that_is_none_is_refused(monkeypatch, config, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        text = config if isinstance(config, str) else json.dumps(config)
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(OptionError, match="TF_CONFIG: .*expected") as error:
        strategy.make_strategy(Options(strategy="multi_worker"))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_without_a_tpu_there_is_a_line(monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(OptionError, match="--tpu: .*Received none"):
        strategy.make_strategy(Options(strategy="tpu"))
    with pytest.raises(OptionError, match="--tpu: .*a TPU that answers. Received 'lo"):
        strategy.make_strategy(Options(strategy="tpu", tpu="local"))


@pytest.mark.parametrize(
    "jobs, task, chief",
    [
        ({"worker": ["a", "b"]}, ("worker", 0), True),
        ({"worker": ["a", "b"]}, ("worker", 1), False),
        ({"chief": ["a"], "worker": ["b"]}, ("chief", 0), True),
        ({"chief": ["a"], "worker": ["b"]}, ("worker", 0), False),
    ],
)
def test_one_worker_of_a_cluster_is_the_chief(monkeypatch, jobs, task, chief):
    cluster = tf.train.ClusterSpec(jobs)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        cluster, task_type=task[0], task_id=task[1]
    )
    fake = types.SimpleNamespace(cluster_resolver=resolver)
    monkeypatch.setattr(
        tf.distribute, "MultiWorkerMirroredStrategy", types.SimpleNamespace
    )
    assert strategy.workers(fake) == 2
    assert strategy.is_chief(fake) is chief
