"""Starts commands sooner, without packages that Keras and TensorFlow import in vain.

Where they are installed, `import keras` also imports JAX (TensorFlow has a converter
for it), scikit-learn (Keras has wrappers for it) and Matplotlib (Keras draws galleries
of images). No command uses these parts, which are two fifths of the time of the import
(BUILD_NOTES.md), and both packages do without them where an import fails.
"""

import json
import os
import pathlib
import sys

PACKAGES = ("jax", "matplotlib", "sklearn")


def import_keras():
    """Imports Keras as if `PACKAGES` were not installed.

    Call it before anything else imports Keras or TensorFlow, from programs only: a
    user's own program may want the wrappers. Later imports of these packages succeed
    as usual. JAX stays visible to other backends than TensorFlow, which import it.
    """
    needed = () if _backend() == "tensorflow" else ("jax",)
    hidden = [name for name in PACKAGES if name not in {*sys.modules, *needed}]
    sys.modules.update(dict.fromkeys(hidden))  # None: an import fails.
    try:
        import keras  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]


def _backend() -> str:
    """Returns the backend that Keras will take, as its documentation says."""
    if chosen := os.environ.get("KERAS_BACKEND"):
        return chosen
    folder = pathlib.Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    try:
        return json.loads((folder / "keras.json").read_text())["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"
