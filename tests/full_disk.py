"""Runs a script with files limited to so many bytes.

    python full_disk.py <bytes> <script> <flags>

Writing more fails with an error of the system, as it does on a disk that is full.
"""

import resource
import runpy
import signal
import sys

limit = int(sys.argv[1])
sys.argv = sys.argv[2:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
runpy.run_path(sys.argv[0], run_name="__main__")
