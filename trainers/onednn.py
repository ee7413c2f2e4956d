"""Switches on oneDNN's kernels, for training and other work on whole batches.

By default TensorFlow uses them only on CPUs with AVX-512. It decides at import, by an
environment variable, which `switch_on` sets. The kernels slow down single images, so
exports and servers keep the default.
"""

import os

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"

_set_here = False


def switch_on():
    """Switches oneDNN on, unless the user has set the variable.

    Call it before TensorFlow is imported, and only from programs: a module that others
    import must not change how they compute.
    """
    global _set_here
    _set_here = VARIABLE not in os.environ
    os.environ.setdefault(VARIABLE, "1")


def setting() -> str | None:
    """Returns the setting: "1", "0", or None, where TensorFlow decides by the CPU."""
    return os.environ.get(VARIABLE)


def user_environment() -> dict[str, str]:
    """Returns the user's environment, without what `switch_on` has set."""
    kept = dict(os.environ)
    if _set_here:
        del kept[VARIABLE]
    return kept
