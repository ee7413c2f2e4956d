"""Bad input ends a command with one line on stderr and exit code 2."""

import sys
from typing import NoReturn

from absl import app, flags, logging

from cnet_tf.checkpoint import CheckpointError
from trainers.data.errors import DataError


class OptionError(ValueError):
    """A flag has a value that cannot be used; the message is one line."""


def run_command(main, failures=()) -> NoReturn:
    """Runs `main()` as a program and turns its errors into lines and exit codes.

    Args:
        main: Reads its flags from `absl.flags.FLAGS`, all of which are defined already.
        failures: Exceptions that tell of a result, not of bad input: exit code 1.
    """

    def parse(argv):
        try:
            rest = flags.FLAGS(argv)[1:]
        except flags.Error as error:
            _exit(2, f"{str(error).removeprefix('flag ')}: see --help.")
        if rest:
            _exit(2, f"expected flags only. Received {' '.join(rest)!r}: see --help.")

    def guarded(_):
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)  # TFDS and TensorFlow tell a lot.
        try:
            main()
        except (OptionError, DataError, CheckpointError) as error:
            _exit(2, error)
        except tuple(failures) as error:
            _exit(1, error)

    app.run(guarded, flags_parser=parse)


def _exit(code, message) -> NoReturn:
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(code)
