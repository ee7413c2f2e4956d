"""A run that diverges goes back at a lower rate; only finite numbers are saved."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
from keras import ops
from short_runs import After, assert_equal, weights

from cnet_tf import checkpoint
from trainers import fit, snapshots, steps
from trainers.epochs import Diverged
from trainers.interruption import Interrupted
from trainers.schedule import make_optimizer


@pytest.fixture
def options(short_run):
    """Three epochs of four batches with growth before the second."""
    return short_run(epochs=3, refine_epochs=(1,))


@pytest.fixture
def diverging(monkeypatch):
    """Makes a chosen update fail above a chosen rate, in one way or another."""
    real = steps.training_program

    def install(at, above, damage=None):
        def program(net, optimizer, *args, **settings):
            update = real(net, optimizer, *args, **settings)

            def failing(images, labels, flag):
                first = int(optimizer.iterations) == at
                if not first or float(optimizer.learning_rate) <= above:
                    return update(images, labels, flag)
                if damage:
                    sums = update(images, labels, flag)
                    damage(net, optimizer)
                    return sums
                return np.array([np.nan, 0, 0, flag])

            return failing

        monkeypatch.setattr(steps, "training_program", program)

    return install


def saved(run, options):
    """Every array that a run has saved."""
    nets = [checkpoint.load(run / "net").net] if (run / "net").exists() else []
    held = [net.variables for net in nets]
    for name in snapshots.names(run):
        net, optimizer, _ = snapshots.load(
            snapshots.verify(run / "snapshots" / name),
            lambda net: make_optimizer(options, net.trainable_variables),
        )
        held += [net.variables, optimizer.variables]
    return [ops.convert_to_numpy(v) for variables in held for v in variables]


@pytest.mark.slow
def test_a_rate_that_is_too_high_is_lowered_and_the_run_is_that_of_the_lower_one(
    options, capsys
):
    """5e28 x 1e-30 = 0.05."""
    expected = weights(fit.fit(options)["run"])
    high = dataclasses.replace(options, learning_rate=5e28, rollback_rate=1e-30)
    summary = fit.fit(high)
    assert summary["diverged"] == [1]
    assert_equal(weights(summary["run"]), expected)
    said = capsys.readouterr().out
    assert "Diverged at epoch 0, batch 1" in said and "(rollback 1 of 3)" in said


@pytest.mark.slow
def test_it_ends_after_so_many_rollbacks_and_saves_nothing_that_is_not_finite(options):
    high = dataclasses.replace(options, learning_rate=1e30, save_batches=1, rollbacks=2)
    with pytest.raises(Diverged, match=r"--learning_rate: .* 2 rollbacks") as error:
        fit.fit(high)
    assert "Received 1e+30: lower it" in str(error.value)
    assert "\n" not in str(error.value)
    run = pathlib.Path(high.runs_dir, "latest")
    assert not (run / "net").exists()
    arrays = saved(run, high)
    assert arrays and all(np.all(np.isfinite(array)) for array in arrays)
    # Given again, it says the same again.
    with pytest.raises(Diverged, match="2 rollbacks"):
        fit.fit(high)


def test_without_rollbacks_it_ends_at_once(options, diverging):
    diverging(at=6, above=0.0)
    with pytest.raises(Diverged, match="epoch 1, batch 2: .* after 0 rollbacks"):
        fit.fit(dataclasses.replace(options, rollbacks=0))


@pytest.mark.slow
@pytest.mark.parametrize("at", [6, 4])
def test_it_goes_back_over_a_refinement(options, diverging, at):
    """From update 4 nothing can be done: it goes back to the snapshot before that."""
    diverging(at, above=0.03)
    summary = fit.fit(options)
    assert summary["diverged"] == [at] and summary["refined"] == [1]
    assert summary["factors"] == [[2]]
    history = json.loads(pathlib.Path(summary["run"], "summary.json").read_text())
    rates = [row["learning_rate"] for row in history["history"]]
    assert rates == ([0.05, 0.025, 0.025] if at == 6 else [0.025] * 3)
    assert [row["steps"] for row in history["history"]] == [1, 2, 2]


@pytest.mark.slow
def test_interrupted_before_or_after_the_rollback_the_bits_are_the_same(
    options, diverging, monkeypatch
):
    """The snapshot of an interruption is not one to go back to."""
    diverging(at=6, above=0.03)
    expected = weights(fit.fit(options)["run"])
    # Batches from one stop to the next, validations among them: at update 5; 7, having
    # gone back from 6 to 4; and at 9.
    options = dataclasses.replace(options, runs_dir=options.runs_dir + "-stopped")
    for batches in (6, 5, 3):
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr(fit, "Interruption", lambda _, n=batches: After(n))
            fit.fit(options)
    run = pathlib.Path(options.runs_dir, "latest")
    assert snapshots.names(run)[-1] == "000000009-interrupted"
    summary = fit.fit(options)
    assert summary["diverged"] == [6]
    assert_equal(weights(summary["run"]), expected)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["weight", "statistic", "slot"])
def test_numbers_that_are_not_finite_are_never_saved(options, diverging, what):
    """The last update of an epoch breaks what its loss could not tell yet."""

    def damage(net, optimizer):
        variable = {
            "weight": net.trainable_variables[0],
            "statistic": net.non_trainable_variables[0],
            "slot": optimizer.variables[-1],
        }[what]
        variable.assign(np.full(variable.shape, np.inf))

    diverging(at=7, above=0.03, damage=damage)
    summary = fit.fit(options)
    assert summary["diverged"] == [8]
    arrays = saved(pathlib.Path(summary["run"]), options)
    assert all(np.all(np.isfinite(array)) for array in arrays)
