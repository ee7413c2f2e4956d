"""Bad input ends a command with one line on stderr and exit code 2."""

# Exit codes: 0 done, or stopped and saved; 1 a training that failed; 2 bad input or a
# disk that cannot be written; 3 a net that came out unusable; 130 Ctrl-C.

import sys
from typing import NoReturn

from absl import app, flags, logging

from cnet_tf.checkpoint import CheckpointError
from trainers import flag_files
from trainers.data.errors import DataError

_CTRL_C = 130  # 128 and the number of the signal, as shells have it.


class OptionError(ValueError):
    """A flag has a value that cannot be used; the message is one line."""


def run_command(main, failures=()) -> NoReturn:
    """Runs `main()` as a program and turns its errors into lines and exit codes.

    Args:
        main: Reads its flags from `absl.flags.FLAGS`, all of which are defined already.
        failures: Exceptions that tell of a result, not of bad input: exit code 1, or
            their `exit_code`.
    """

    def parse(argv):
        try:
            rest = flags.FLAGS([argv[0], *flag_files.expanded(argv[1:])])[1:]
        except flag_files.FlagFileError as error:
            _exit(2, error)
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
            _exit(getattr(error, "exit_code", 1), error)
        except KeyboardInterrupt:
            _exit(_CTRL_C, "stopped by Ctrl-C.")

    app.run(guarded, flags_parser=parse)


def _exit(code, message) -> NoReturn:
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(code)
