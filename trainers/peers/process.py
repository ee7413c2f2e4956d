"""Runs a peer's program in its own process, by the protocol of `programs/turns.py`."""

import contextlib
import json
import re
import subprocess
import tempfile
import threading
import time

from cnet_tf.line_error import LineError

# Seconds to wait for an answer. A step takes seconds, compiling a net minutes.
PATIENCE = 900


_RAISED = re.compile(r"[\w.]*(Error|Exception)\b")


class PeerError(LineError):
    """A peer refused, ended or did not answer; the message is one line."""


class PeerProcess:
    """A peer that trains a net, one step per request.

    Args:
        python: Its interpreter.
        program: Path of its program.
        job: The job that the program is given.
        environment: Environment variables of the process.
        patience: Seconds to wait for each answer.

    Attributes:
        start: Seconds of the parts of its start, by name.
    """

    def __init__(self, python, program, job, environment=None, patience=PATIENCE):
        self._patience = patience
        self._log = tempfile.TemporaryFile("w+", errors="replace")
        self._process = subprocess.Popen(
            [python, str(program), json.dumps({**job, "started": time.monotonic()})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        try:
            self.start = self._answer()
        except BaseException:
            self.close()
            raise

    def ask(self, command: str):
        """Returns the answer to a command.

        Raises:
            PeerError: there is no answer.
        """
        with contextlib.suppress(BrokenPipeError):  # `_answer` reports it.
            self._process.stdin.write(f"{json.dumps(command)}\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self):
        """Ends the process; kills it if it does not end by itself."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _answer(self):
        impatient = threading.Timer(self._patience, self._process.kill)
        impatient.start()
        try:
            line = self._process.stdout.readline()
        finally:
            impatient.cancel()
        if not line:
            raise PeerError(f"expected an answer. Received {self._last_words()}")
        answer = json.loads(line)
        if isinstance(answer, dict) and "refused" in answer:
            raise PeerError(answer["refused"])
        return answer

    def _last_words(self):
        code = self._process.wait()
        if code == -9:
            return f"none within {self._patience} s, or memory ran out"
        self._log.seek(0)
        lines = [line for line in self._log.read().splitlines() if line.strip()]
        # Some libraries print more below an exception.
        raised = [line for line in lines if _RAISED.match(line)]
        return (raised or lines or [f"exit code {code}"])[-1]
