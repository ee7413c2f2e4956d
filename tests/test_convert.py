"""The command: residual nets to continuous ones, and those to plain models."""

import keras
import numpy as np
import pytest
from trained_run import parse, save_run

from cnet_tf import ResNet
from cnet_tf.surgery import blocks_of
from trainers import convert
from trainers.data import MissingData
from trainers.errors import OptionError


def options(*flags):
    return parse(list(flags), convert.Options)


def test_there_and_back(tmp_path, capsys):
    net = ResNet(3, 2, (4,), stem_width=4, input_shape=(8, 8, 1))
    net.save(tmp_path / "resnet.keras")
    files = [tmp_path / f"{name}.keras" for name in ("resnet", "there", "back")]
    convert.main(options(f"--model={files[0]}", f"--output={files[1]}"))
    assert "block_0: 2 units of 8x8x4" in capsys.readouterr().out
    convert.main(options(f"--model={files[1]}", "--to=plain", f"--output={files[2]}"))
    there, back = (keras.saving.load_model(file) for file in files[1:])
    assert [block.nodes for block in blocks_of(there)] == [2]
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1))
    np.testing.assert_array_equal(there(x), net(x))
    np.testing.assert_array_equal(back(x), net(x))
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_a_run_is_projected_and_scored(tmp_path, digits_dir, capsys):
    shape = {"widths": (4,), "blocks_per_stage": 3, "stem_width": 4}
    run = save_run(tmp_path / "run", preset="resnet20", **shape)
    wanted = ["--basis=hat", "--nodes=2", "--recalibrate=1", f"--data_dir={digits_dir}"]
    convert.main(
        options(f"--model={run}", f"--output={tmp_path / 'hat.keras'}", *wanted)
    )
    out = capsys.readouterr().out
    for name in ("as given", "projected", "recalibrated"):
        assert f"{name}: " in out and "% of test" in out
    assert "block_0: hat, K = 2, euler, N = 3" in out


@pytest.mark.slow
def test_a_net_that_ships_is_converted_where_its_images_are_missing(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    file = tmp_path / "plain.keras"
    net = "--model=pretrained:cifar10_2-2-2_euler"
    convert.main(options(net, "--to=plain", f"--output={file}"))
    assert "accuracies are left out" in capsys.readouterr().err and file.exists()
    with pytest.raises(MissingData):
        convert.main(options(net, "--recalibrate=1", f"--output={file}"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            [],
            "--model: expected a .keras file, the folder of a run, or pretrained: and",
        ),
        (["--model=x", "--output=x.h5"], "--output: expected a path that ends in"),
        (["--model=x", "--to=plain", "--basis=hat"], "--basis: expected none with"),
        (["--model=x.keras", "--recalibrate=1"], "--recalibrate: expected 0 with a"),
        (["--model=missing.keras"], "--model: expected a .keras file.*missing.keras"),
    ],
)
def test_bad_flags_end_in_a_line(flags, message):
    with pytest.raises(OptionError, match=message):
        convert.main(options(*flags))


def test_a_model_without_stages_is_refused(tmp_path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(
        tmp_path / "net.keras"
    )
    with pytest.raises(OptionError, match="--model: model: expected at least 2 resid"):
        output = f"--output={tmp_path / 'out.keras'}"
        convert.main(options(f"--model={tmp_path / 'net.keras'}", output))
    assert len(list(tmp_path.iterdir())) == 1
