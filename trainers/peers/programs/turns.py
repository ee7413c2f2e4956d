"""The protocol of all peers' programs: JSON, one line per message, on stdin and stdout.

    with_x.py '{"nodes": 2, "scheme": "euler", "batch": 128, "started": 1234.5}'
    ->  {"import": 1.2, "build": 0.4, "first": 2.1}    seconds, once a step was made
    "step"    ->  0.213       seconds of the next training step
    "sgemm"   ->  0.104       seconds of one product of two float32 matrices of SIZE
    "memory"  ->  912345678   bytes at the peak
    "size"    ->  {"parameters": 272986, "macs": 41444992}
    (end of input)            ends the program

or {"refused": "why"} instead of any answer. The benchmark asks one program after the
other, so that each of them in turn has the machine to itself.

Standard library only.
"""

import json
import os
import resource
import sys
import time
import types

WIDTHS = (16, 32, 64)
CLASSES = 10
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 5e-4
# Rows and columns of the matrices of "sgemm", which takes 2 SIZE^3 operations.
SIZE = 2048


class Session:
    """The program's side of the conversation.

    Attributes:
        job: What to train: nodes (K, which is also N), scheme, batch, when the program
            was started by `time.monotonic`, and the settings of the peer's variant.
        answers: Functions without arguments, by command.
    """

    def __init__(self):
        # What libraries print must not be taken for an answer.
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self.job = types.SimpleNamespace(**json.loads(sys.argv[1]))
        self.answers = {"memory": peak_memory}
        self._laps, self._lap, self._begun = {}, self.job.started, False
        self.lap("import")

    def lap(self, name):
        """Ends a part of the start."""
        now = time.monotonic()
        self._laps[name], self._lap = now - self._lap, now

    def stepped(self, seconds):
        """Reports that a step was made; the first one ends the start."""
        if self._begun:
            return self._say(seconds)
        self._begun = True
        self.lap("first")
        self._say(self._laps)

    def wait(self):
        """Answers until a step is asked for."""
        for line in sys.stdin:
            command = json.loads(line)
            if command == "step":
                return
            self._say(self.answers[command]())
        sys.exit()

    def refuse(self, why):
        """Ends the program, which cannot do its job."""
        self._say({"refused": why})
        sys.exit()

    def _say(self, answer):
        print(json.dumps(answer), file=self._out)


def serve(make):
    """Runs a program.

    Args:
        make: Function of a `Session` that adds "sgemm" and "size" to its `answers` and
            returns a function without arguments that makes a step and waits for it.
    """
    session = Session()
    step = make(session)
    session.lap("build")
    while True:
        session.stepped(seconds(step))
        session.wait()


def seconds(call):
    """Returns how long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_memory():
    """Returns the peak memory of this process in bytes."""
    try:
        # `getrusage` starts with the size of the process that forked this one.
        with open("/proc/self/status") as file:
            (peak,) = (line.split()[1] for line in file if line.startswith("VmHWM"))
    except OSError:  # Not Linux; macOS counts in bytes.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if sys.platform == "darwin":
            return peak
    return int(peak) * 1024
