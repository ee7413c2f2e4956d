"""oneDNN's kernels, for trainings and other work on whole batches.

TensorFlow uses them by itself only on CPUs with AVX-512. It decides when it is
imported, by a variable of the environment, which `switch_on` sets. They make single
images slower, so exports and servers are left as they are.
"""

import os

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"

_set_here = False


def switch_on():
    """Switches oneDNN on, unless the user has set the variable.

    Call it before TensorFlow is imported, from programs only: what is imported by
    others must not change how they compute.
    """
    global _set_here
    _set_here = VARIABLE not in os.environ
    os.environ.setdefault(VARIABLE, "1")


def setting() -> str | None:
    """What is set: "1", "0", or None, where TensorFlow goes by the CPU."""
    return os.environ.get(VARIABLE)


def user_environment() -> dict[str, str]:
    """The environment as the user has it, without what `switch_on` has set."""
    kept = dict(os.environ)
    if _set_here:
        del kept[VARIABLE]
    return kept
