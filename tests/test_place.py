"""Where a run trains: batches are shared out, and what cannot be is refused."""

import pytest
import tensorflow as tf
from keras import ops

from trainers.errors import OptionError
from trainers.options import Options
from trainers.place import Place, WorkerLost


def test_one_device_is_the_chief_of_itself():
    place = Place.of(Options(batch_size=32))
    assert place == Place(tf.distribute.get_strategy(), 32)
    assert place.replicas == 1 and place.chief


def test_a_batch_of_each_replica_is_multiplied_by_their_number():
    options = Options(strategy="mirrored", replica_batch_size=5, batch_size=31)
    assert Place.of(options).batch_size == 10


@pytest.mark.parametrize(
    "change, message",
    [
        ({"batch_size": 31}, "--batch_size: expected a multiple of the 2 replicas"),
        ({"jit_compile": "on"}, "--jit_compile: expected 'off' or 'auto'"),
    ],
)
def test_what_replicas_cannot_do_is_refused(change, message):
    with pytest.raises(OptionError, match=message):
        Place.of(Options(strategy="mirrored", **change))


@pytest.mark.parametrize("workers, expected", [(1, tf.errors.OpError), (2, WorkerLost)])
def test_a_failed_exchange_is_a_lost_worker_only_in_a_cluster(workers, expected):
    place = Place(tf.distribute.get_strategy(), 32, workers=workers)
    with pytest.raises(expected, match="gone away"), place.together():
        raise tf.errors.UnavailableError(None, None, "gone away")


def test_every_process_prepares_its_own_part_of_every_batch():
    """Two shards of two replicas each, as a cluster would ask for them."""
    whole = tf.data.Dataset.range(16)

    def make(shards, shard):
        return whole.batch(8 // shards).shard(shards, shard)

    class Cluster:
        num_replicas_in_sync = 4

        def distribute_datasets_from_function(self, local):
            return [
                [batch.tolist() for batch in local(context).as_numpy_iterator()]
                for context in (
                    tf.distribute.InputContext(2, 0, 4),
                    tf.distribute.InputContext(2, 1, 4),
                )
            ]

    assert Place(Cluster(), 8).batches(make) == [
        [[0, 1], [2, 3], [8, 9], [10, 11]],
        [[4, 5], [6, 7], [12, 13], [14, 15]],
    ]
    assert ops.size(next(iter(make(1, 0)))) == 8
