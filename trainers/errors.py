"""Ends a command: with one line on stderr, an exit code, and nothing half-done.

Exit codes: 0 done, stopped and saved, or running already; 1 a failure to give a result;
2 bad input or a failed read or write; 3 an unusable net; 128 + n on signal n; 141 if
the reader of a pipe is gone.
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

# Signals that end a command: `kill`, a closed terminal. Windows lacks the latter.
_SIGNALS = [
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
]


# Seconds until an end that had no effect is raised again, at first and later.
_AGAIN = 1.0, 0.2


class OptionError(LineError):
    """A flag has a value that cannot be used; the message is one line."""


@contextlib.contextmanager
def naming(flags: str):
    """Turns a ValueError of the library into an `OptionError` that names these flags.

    Args:
        flags: The start of the message, such as `"--scheme, --steps"`.
    """
    try:
        yield
    except ValueError as error:
        raise OptionError(f"{flags}: {error}") from error


class _Ended(SystemExit):
    """A signal; on its way up files are closed and temporary ones removed."""


def run_command(main, failures=()) -> NoReturn:
    """Runs `main()` as a program and turns its errors into lines and exit codes.

    Args:
        main: Reads its flags from `absl.flags.FLAGS`, where all are already defined.
        failures: Exceptions that report a result, not bad input: exit code 1, or
            their `exit_code`.
    """

    def parse(argv):
        try:
            rest = flags.FLAGS([argv[0], *flag_files.expanded(argv[1:])])[1:]
        except flag_files.FlagFileError as error:
            _exit(2, error)
        # ValueError: --noname was given a value.
        except (flags.Error, ValueError) as error:
            _exit(2, f"{str(error).removeprefix('flag ')}: see --help.")
        except OSError as error:  # From printing --help.
            _refuse_disk(error)
        if rest:
            _exit(2, f"expected flags only. Received {' '.join(rest)!r}: see --help.")

    def guarded(_):
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)  # TFDS and TensorFlow log a lot.
        ended = _end_on_signals()
        try:
            with _kept(ended):
                main()
                sys.stdout.flush()  # A full disk behind it shows up here at the latest.
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


@contextlib.contextmanager
def _kept(ended):
    """Ends the program even where a library made an error of its own of the end.

    Code in other languages may, if the signal comes while it calls Python.
    """
    try:
        yield
    except Exception:
        if ended:
            raise _Ended(128 + ended[0]) from None
        raise
    finally:
        if ended and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


def _end_on_signals() -> list[int]:
    """Makes signals raise, so that the process cleans up; later ones are ignored.

    Returns:
        A list, which will hold the number of the signal that came.
    """
    ended = []

    def end(number, _):
        ended.append(number)
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        name = signal.Signals(number).name
        # Not `print`: the signal may have interrupted one.
        with contextlib.suppress(OSError):
            os.write(2, f"error: stopped by {name}.\n".encode())
        if hasattr(signal, "setitimer"):  # Not on Windows.
            signal.signal(signal.SIGALRM, again)
            signal.setitimer(signal.ITIMER_REAL, *_AGAIN)
        raise _Ended(128 + number)

    def again(*_):
        # A library may also have swallowed the end. While an exception is on its way
        # up, or handled, the program is clearing up.
        if sys.exc_info()[1] is None:
            raise _Ended(128 + ended[0])

    for each in _SIGNALS:
        if signal.getsignal(each) != signal.SIG_IGN:  # Ignored under `nohup`.
            signal.signal(each, end)
    _raise_dropped_ends_again()
    return ended


def _raise_dropped_ends_again():
    """Makes ends reach `main` even from where Python drops exceptions.

    It does so in garbage-collection callbacks and finalizers: an exception there is
    reported to `sys.unraisablehook` and forgotten. A signal handler may well run in
    one of them, as libraries have such callbacks.
    """
    if not hasattr(signal, "setitimer"):  # Windows.
        return
    hook = sys.unraisablehook

    def keep_ends(dropped):
        end = dropped.exc_value
        if end is None or isinstance(end, (Exception, GeneratorExit)):
            hook(dropped)  # An ordinary failure: a message is enough.
            return

        def raise_it(*_):
            raise end

        # Raised soon, from outside: an exception raised here is dropped, too.
        signal.signal(signal.SIGALRM, raise_it)
        signal.setitimer(signal.ITIMER_REAL, 0.01)

    sys.unraisablehook = keep_ends


def _refuse_disk(error) -> NoReturn:
    _forget_stdout()
    _exit(
        2,
        "expected files and a terminal that can be read and written. Received "
        f"{error}: make room, or repair what it names.",
    )


def _forget_stdout():
    """Keeps Python from retrying at exit what could not be written."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit(code, message) -> NoReturn:
    with contextlib.suppress(OSError):  # On a full disk the exit code must do.
        print(f"error: {line(message)}", file=sys.stderr)
    sys.exit(code)
