"""What is in a SavedModel: every variable once, and the same bytes for the same net."""

import os
import subprocess
import sys

import pytest
import tensorflow as tf
from trained_run import copy_of_keras, saved_variables

from export import saved_model, staging


@pytest.fixture
def flags_for(export_flags):
    return export_flags(saved_model.Options)


def _contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# Of the functions, which TensorFlow numbers on within a process.
NAMED = {"saved_model.pb", "fingerprint.pb"}


@pytest.mark.slow
def test_the_same_net_gives_the_same_content(flags_for, monkeypatch):
    """Within one process: all bytes but the names of functions."""
    # Their numbers get longer, and now and then the size in the model card with them.
    monkeypatch.setattr(staging, "size_on_disk", lambda path: 144_000)
    first, again = (saved_model.main(flags_for()) for _ in range(2))
    contents, others = _contents(first), _contents(again)
    assert NAMED | {"variables/variables.index", "model_card.md"} < contents.keys()
    differing = {name for name in contents if contents[name] != others.pop(name)}
    assert differing <= NAMED and not others
    # Hashes that TensorFlow takes without these names.
    one, other = (
        tf.saved_model.experimental.read_fingerprint(str(folder))
        for folder in (first, again)
    )
    for name in ("graph_def_program", "signature_def", "saved_object_graph"):
        assert getattr(one, f"{name}_hash") == getattr(other, f"{name}_hash")
    assert one.checkpoint_hash == other.checkpoint_hash


@pytest.mark.slow
def test_the_same_export_in_a_new_process_gives_the_same_bytes(
    runs, digits_dir, tmp_path
):
    found = []
    for seed in "12":  # Of Python's hashes, by which sets are ordered.
        done = subprocess.run(
            [
                *(sys.executable, saved_model.__file__, f"--run={runs['small']}"),
                f"--data_dir={digits_dir}",
                f"--output={tmp_path / seed}",
                "--manifestations=euler:2,midpoint:4",
            ],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found.append(_contents(tmp_path / seed))
    assert {"serving/cnet/1/saved_model.pb", "serving/models.config"} < found[0].keys()
    assert found[0] == found[1]


def test_every_variable_is_written_once(runs, flags_for):
    """Keras' `ExportArchive.track` would have each of them written twice."""
    net = copy_of_keras(runs["small"], "rk4", 1)
    expected = sorted((v.numpy().shape, v.numpy().tobytes()) for v in net.variables)
    assert saved_variables(saved_model.main(flags_for())) == expected
