"""Where a run trains: its strategy, its role in a cluster, its batch size."""

import contextlib
import dataclasses

import keras
import tensorflow as tf

from trainers.cluster import WorkerLost
from trainers.errors import OptionError
from trainers.strategy import is_chief, make_strategy, workers


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a run trains; decided once, before anything is built.

    Attributes:
        strategy: Replicates the steps.
        batch_size: Examples per update over all replicas of all workers.
        jit: Whether XLA compiles the steps.
        workers: Number of processes that train together.
        chief: Whether this process writes to the disk; one process of a cluster does.
    """

    strategy: tf.distribute.Strategy
    batch_size: int
    jit: bool = False
    workers: int = 1
    chief: bool = True

    @classmethod
    def of(cls, options) -> "Place":
        """Makes the strategy; call it before TensorFlow does anything else.

        Args:
            options: The run's `Options`.

        Raises:
            OptionError: see `make_strategy`; a batch that cannot be divided among the
                replicas; steps that XLA cannot compile.
        """
        if keras.backend.backend() == "jax":
            if options.strategy != "none":
                raise OptionError(
                    "--strategy: expected 'none' with KERAS_BACKEND=jax, which trains "
                    f"on one device. Received {options.strategy!r}."
                )
            tf.config.set_visible_devices([], "GPU")  # JAX uses their memory.
        strategy = make_strategy(options)
        replicas = strategy.num_replicas_in_sync
        size = options.batch_size
        if options.replica_batch_size:
            size = options.replica_batch_size * replicas
        if size % replicas:
            raise OptionError(
                f"--batch_size: expected a multiple of the {replicas} replicas. "
                f"Received {size}."
            )
        if options.jit_compile == "on" and replicas > 1:
            raise OptionError(
                f"--jit_compile: expected 'off' or 'auto' with {replicas} replicas, "
                "which XLA cannot compile as one step. Received 'on'."
            )
        jit = options.jit_compile == "on"
        if options.jit_compile == "auto":
            jit = bool(tf.config.list_physical_devices("GPU")) and replicas == 1
        return cls(strategy, size, jit, workers(strategy), is_chief(strategy))

    @property
    def replicas(self) -> int:
        """Counts the replicas of all workers."""
        return self.strategy.num_replicas_in_sync

    @contextlib.contextmanager
    def together(self):
        """Enters the scope of the strategy; a lost worker becomes a one-line error.

        Raises:
            WorkerLost: an exchange with the other workers failed.
        """
        try:
            with self.strategy.scope():
                yield
        except tf.errors.OpError as error:
            if self.workers == 1:
                raise
            raise WorkerLost(
                "a worker of the cluster is gone. Run the same command again on every "
                "worker: training resumes from the last snapshot. TensorFlow says: "
                + str(error).strip().partition("\n")[0]
            ) from error

    def batches(self, make) -> tf.data.Dataset:
        """Distributes batches over all replicas; each process prepares only its part.

        Args:
            make: Function (shards, shard) -> batches of batch_size / shards examples,
                one shard of every batch.
        """
        replica_batch = self.batch_size // self.replicas

        def local(context):
            shards, shard = context.num_input_pipelines, context.input_pipeline_id
            return make(shards, shard).rebatch(replica_batch, drop_remainder=True)

        return self.strategy.distribute_datasets_from_function(local)
