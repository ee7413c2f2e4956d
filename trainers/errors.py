"""How a command ends: with one line on stderr, an exit code, and nothing half-done.

0 done, stopped and saved, or running already; 1 a result that is none; 2 bad input or a
disk that refuses; 3 a net that is unusable; 128 + n on the signal n, 141 where the
reader of a pipe has gone.
"""

import contextlib
import os
import signal
import sys
from typing import NoReturn

from absl import app, flags, logging

from cnet_tf.escaping import line
from cnet_tf.line_error import LineError
from trainers import flag_files

# What ends a command from outside: `kill`, a closed terminal. Missing on Windows.
_SIGNALS = [
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class OptionError(LineError):
    """A flag has a value that cannot be used; the message is one line."""


@contextlib.contextmanager
def naming(flags: str):
    """Turns what the library refuses within it into an `OptionError` of these flags.

    Args:
        flags: As a message begins, such as `"--scheme, --steps"`.
    """
    try:
        yield
    except ValueError as error:
        raise OptionError(f"{flags}: {error}") from error


class _Ended(SystemExit):
    """A signal: what is open is closed and what is temporary removed on its way up."""


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
        # ValueError: of a value for --noname.
        except (flags.Error, ValueError) as error:
            _exit(2, f"{str(error).removeprefix('flag ')}: see --help.")
        except OSError as error:  # Of --help.
            _refuse_disk(error)
        if rest:
            _exit(2, f"expected flags only. Received {' '.join(rest)!r}: see --help.")

    def guarded(_):
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)  # TFDS and TensorFlow tell a lot.
        _end_on_signals()
        try:
            main()
            sys.stdout.flush()  # A full disk behind it shows here at the latest.
        except tuple(failures) as error:
            _exit(getattr(error, "exit_code", 1), error)
        except LineError as error:
            _exit(2, error)
        except KeyboardInterrupt:
            _exit(128 + signal.SIGINT, "stopped by Ctrl-C.")
        except BrokenPipeError:
            _forget_stdout()
            sys.exit(128 + 13)  # As if SIGPIPE had ended it.
        except OSError as error:
            _refuse_disk(error)

    app.run(guarded, flags_parser=parse)


def _end_on_signals():
    """Signals that end a process raise, so that it clears up; a second one is late."""

    def end(number, _):
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        name = signal.Signals(number).name
        # Not by `print`, in the middle of which the signal may have come.
        with contextlib.suppress(OSError):
            os.write(2, f"error: stopped by {name}.\n".encode())
        raise _Ended(128 + number)

    for each in _SIGNALS:
        if signal.getsignal(each) != signal.SIG_IGN:  # As `nohup` asks for.
            signal.signal(each, end)
    _raise_dropped_ends_again()


def _raise_dropped_ends_again():
    """Ends reach `main`, even if they come where Python drops what is raised.

    That is in callbacks of garbage collection and finalizers: an exception there is
    told to `sys.unraisablehook` and forgotten. The handler of a signal may well run in
    one of them, as libraries have such callbacks.
    """
    if not hasattr(signal, "setitimer"):  # Windows.
        return
    hook = sys.unraisablehook

    def keep_ends(dropped):
        end = dropped.exc_value
        if end is None or isinstance(end, (Exception, GeneratorExit)):
            hook(dropped)  # A failure, of which no more than a message is due.
            return

        def raise_it(*_):
            raise end

        # Soon, from the outside: what is raised here is dropped, too.
        signal.signal(signal.SIGALRM, raise_it)
        signal.setitimer(signal.ITIMER_REAL, 0.01)

    sys.unraisablehook = keep_ends


def _refuse_disk(error) -> NoReturn:
    _forget_stdout()
    _exit(
        2,
        "expected files and a terminal that can be read and written. Received "
        f"{error}: make room, or see to what it names.",
    )


def _forget_stdout():
    """What cannot be written is not tried again when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit(code, message) -> NoReturn:
    with contextlib.suppress(OSError):  # Of a full disk: the code tells.
        print(f"error: {line(message)}", file=sys.stderr)
    sys.exit(code)
