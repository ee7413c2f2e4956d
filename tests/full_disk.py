"""Runs a script with files limited to 50 kB: python full_disk.py <script> <flags>.

Writing more fails with an error of the system, as it does on a disk that is full.
"""

import resource
import runpy
import signal
import sys

sys.argv = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
runpy.run_path(sys.argv[0], run_name="__main__")
