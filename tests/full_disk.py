"""Runs a script with files limited to 50 kB, or to $CNET_MOST_BYTES bytes.

    python full_disk.py <script> <flags>

Writing more fails with an error of the system, as it does on a disk that is full.
"""

import os
import resource
import runpy
import signal
import sys

sys.argv = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
most = int(os.environ.get("CNET_MOST_BYTES", 50_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
runpy.run_path(sys.argv[0], run_name="__main__")
