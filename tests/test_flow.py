"""The picture of two classes in the plane and the flow that parts them."""

import numpy as np
import pytest
from trained_run import parse

from trainers import flow


@pytest.mark.slow
@pytest.mark.parametrize("name", flow.PLANES)
def test_the_last_states_are_those_that_the_head_sees(name):
    net, points, labels = flow.trained(flow.PLANES[name], epochs=1, seed=0)
    path = flow.along(net, points)
    assert path.shape == (17, len(points), 2) and set(labels) == {0, 1}
    kernel, _ = net.layers[-1].get_weights()
    logits = net.predict(points, verbose=0)[:, 0]
    np.testing.assert_allclose(path[-1, :, 0] * np.linalg.norm(kernel), logits, 1e-4)


@pytest.mark.slow
def test_the_command_draws(tmp_path, capsys):
    flow.main(parse([f"--output={tmp_path}", "--epochs=1"], flow.Options))
    assert (tmp_path / "flow.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "moons: " in said and "circles: " in said
