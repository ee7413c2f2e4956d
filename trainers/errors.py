"""Bad input ends a command with one line and exit code 2, before any long work."""

import sys

from absl import app

from cnet_tf.checkpoint import CheckpointError


class OptionError(ValueError):
    """A flag has a value that cannot be used; the message is one line."""


def run_command(main):
    """Runs `main(argv)` under absl; bad input becomes one line and exit code 2."""
    # Imported late: `--help` need not wait for TensorFlow.
    from trainers.sources import DataError

    def guarded(argv):
        try:
            if len(argv) > 1:
                raise OptionError(
                    f"expected flags only. Received {' '.join(argv[1:])!r}: see --help."
                )
            main()
        except (OptionError, DataError, CheckpointError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    app.run(guarded)
