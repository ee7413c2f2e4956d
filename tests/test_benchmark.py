"""The table of training speeds: a row for every net, size and way to run a step."""

import pytest
from trained_run import parse

from trainers import benchmark
from trainers.errors import OptionError


@pytest.mark.slow
def test_every_net_and_variant_has_a_row(capsys):
    flags = ["--presets=cifar10_1-1-1_rk4", "--nodes=1,2", "--variants=graph,loop"]
    small = ["--batch_size=2", "--rounds=1", "--precision=mixed_bfloat16"]
    benchmark.main(parse([*flags, *small], benchmark.Options))
    _, _, *rows = capsys.readouterr().out.splitlines()
    names = [tuple(cell.strip() for cell in row.split("|")[1:3]) for row in rows]
    sizes = [f"cifar10_1-1-1_rk4, K = {k}" for k in (1, 2)]
    assert names == [(name, step) for name in sizes for step in ("graph", "loop")]


@pytest.mark.parametrize("flag", ["--nodes=2", "--variants=loop"])
def test_nets_of_fixed_depth_have_no_nodes_and_no_loop(flag):
    with pytest.raises(OptionError, match="--presets: expected nets with blocks"):
        benchmark.main(parse(["--presets=resnet20", flag], benchmark.Options))
