"""A look inside: norms, errors and theta(t) are what the net has, as files."""

import csv
import dataclasses

import numpy as np
import pytest
from flows import block_net, plain_net, states
from markdown_tables import cells_of
from trained_run import parse

from cnet_tf.trajectory import TappedNet, state_at
from trainers import inside, inside_report
from trainers.errors import OptionError


@pytest.fixture(scope="module")
def net():
    return block_net("euler", 2)


def test_courses_are_of_the_states(net):
    x = states(6)
    tapped = TappedNet(net)
    (course,) = inside_report.courses(tapped, [(x[:4], None), (x[4:], None)], 4)
    for n, t in enumerate((0, "1/2", 1)):
        h, fine = state_at(tapped, None, x, t), state_at(tapped, None, x, t, refined=4)

        def mean(v):
            return np.sqrt(np.square(np.asarray(v)).sum(axis=1).mean())

        found = course.norm[n], course.distance[n], course.error[n]
        np.testing.assert_allclose(found, [mean(h), mean(h - x), mean(h - fine)])
    assert course.error[0] == 0 < course.error[-1]
    np.testing.assert_array_equal(course.depths, [0, 0.5, 1])


def test_a_plain_net_has_courses_and_no_theta(net):
    x, plain = states(3), TappedNet(plain_net(net))
    assert inside_report.thetas(plain) == {}
    ours, its = (
        inside_report.courses(tapped, [(x, None)], 2)[0]
        for tapped in (TappedNet(net), plain)
    )
    for one, other in zip(
        dataclasses.astuple(ours)[1:], dataclasses.astuple(its)[1:], strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    found = inside_report.files([its], {})
    assert set(found) == {"states.csv", "inside.png"}


@pytest.mark.slow
def test_as_a_command(runs, digits_dir, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = [f"--run={runs['small']}", f"--data_dir={digits_dir}", "--refined=2"]
    options = parse([*arguments, "--examples=4", f"--output={output}"], inside.Options)
    inside.main(options)
    with open(output / "states.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["t"] for row in rows] == ["0.0", "1.0"]
    for name in ("inside.png", "theta.png"):
        assert (output / name).read_bytes().startswith(b"\x89PNG")
    (events,) = (output / "tensorboard").iterdir()
    written = events.read_bytes()
    assert b"block_0/error" in written and b"kernel" in written
    assert cells_of(capsys.readouterr().out)[1][:2] == ["block_0", "1"]


def test_several_runs_are_refused(runs):
    with pytest.raises(OptionError, match="--run: expected one run. Received 2"):
        parse([f"--run={runs['small']},{runs['digits']}"], inside.Options)
