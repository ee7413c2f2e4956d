"""Every flag is explained, checked alone and in combination, and replayable."""

import dataclasses
import pathlib

import pytest
from absl import flags

from cnet_tf.model_graph import layers_of
from cnet_tf.presets import PRESETS, continuous_net
from cnet_tf.surgery import blocks_of
from trainers import option_table
from trainers.errors import OptionError
from trainers.options import Options

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture
def flag_values():
    values = flags.FlagValues()
    option_table.define_flags(Options, values)
    return values


def test_every_flag_says_its_default(flag_values):
    for field in dataclasses.fields(Options):
        assert "Default: " in flag_values[field.name].help, field.name


def test_the_defaults_of_the_flags_are_those_of_the_record(flag_values):
    flag_values(["train"])
    assert option_table.from_flags(Options, flag_values) == Options()


def test_flags_replay(flag_values, tmp_path):
    flag_values(
        ["train", "--nodes=1,2,3", "--epochs=7", "--refine_epochs=2,4", "--nesterov"]
    )
    first = option_table.from_flags(Options, flag_values)
    path = tmp_path / "flags.txt"
    path.write_text(option_table.flagfile(first))
    flag_values.unparse_flags()
    for name in flag_values:
        flag_values[name].unparse()
    flag_values(["train", f"--flagfile={path}"])
    assert option_table.from_flags(Options, flag_values) == first
    assert first.nodes == (1, 2, 3) and first.nesterov


def test_a_list_of_words_is_refused(flag_values):
    flag_values(["train", "--nodes=two"])
    with pytest.raises(OptionError, match="--nodes: expected integers.*'two'"):
        option_table.from_flags(Options, flag_values)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"scheme": "rk5"}, "--scheme: expected one of euler.*Received 'rk5'"),
        ({"basis": "spline"}, "--basis: .*'spline'"),
        ({"preset": "resnet21"}, "--preset: .*'resnet21'"),
        ({"unit": "middle"}, "--unit: "),
        ({"padding": "valid"}, "--padding: expected one of same, symm.*'valid'"),
        ({"stitch": float("nan")}, "--stitch: expected a number. Received nan"),
        ({"augment": "rotate"}, "--augment: .*'rotate'"),
        ({"epochs": 0}, "--epochs: expected an integer >= 1. Received 0"),
        ({"steps": (0,)}, "--steps: expected integers >= 1. Received '0'"),
        ({"learning_rate": float("nan")}, "--learning_rate: expected a number > 0"),
        ({"learning_rate": -1.0}, "--learning_rate: "),
        ({"validation_fraction": 1.0}, "--validation_fraction: "),
        ({"refine_epochs": (30,)}, "--refine_epochs: .*below --epochs=30"),
        ({"refine_epochs": (5, 3)}, "--refine_epochs: expected increasing"),
        ({"decay_epochs": (99,)}, "--decay_epochs: .*never be reached"),
        (
            {"schedule": "step", "warmup_epochs": 5, "decay_epochs": (3, 5, 10)},
            r"--decay_epochs: .*by --warmup_epochs .*Received \[3, 5\]",
        ),
        (
            {
                "schedule": "step",
                "refine_epochs": (5,),
                "rewarm_epochs": 2,
                "decay_epochs": (5, 6, 15),
            },
            r"--decay_epochs: .*by --rewarm_epochs. Received \[6\]",
        ),
        (
            {
                "schedule": "step",
                "grow": ((0, "euler", 1, 1), (5, "euler", 2, 2)),
                "rewarm_epochs": 3,
                "decay_epochs": (6,),
            },
            r"--decay_epochs: .*by --rewarm_epochs. Received \[6\]",
        ),
        ({"train_only": "head", "ema": 0.9}, "--ema: expected none with --train_only"),
        ({"train_only": "head", "recalibrate": 5}, "--recalibrate: .* Received 5"),
        (
            {"train_only": "head", "any_depth": (("euler", 1),)},
            "--any_depth: expected none with --train_only=head",
        ),
        (
            {"preset": "resnet20", "refine_epochs": (3,)},
            "--refine_epochs: expected a preset with blocks. Received 'resnet20'",
        ),
        ({"refine_factor": (1,)}, "--refine_factor: .*integers >= 2. Received '1'"),
        (
            {"refine_epochs": (1, 2), "refine_factor": (1000, 2)},
            "--refine_factor: expected at most 1024 .* in the end. Received .* to 2000",
        ),
        ({"refine_factor": ()}, "--refine_factor: expected a factor"),
        ({"refine": "sometimes"}, "--refine: .*'sometimes'"),
        (
            {"refine": "on_plateau", "refine_epochs": (3,)},
            "--refine_epochs: expected none with --refine=on_plateau",
        ),
        (
            {"preset": "resnet20", "refine": "on_plateau"},
            "--refine_epochs: expected a preset with blocks. Received 'resnet20'",
        ),
        (
            {"refine": "adaptive"},
            "--refine_epochs: expected epochs with --refine=adaptive",
        ),
        (
            {"preset": "resnet20", "refine": "adaptive", "refine_epochs": (3,)},
            "--refine_epochs: expected a preset with blocks. Received 'resnet20'",
        ),
        ({"refine_bulk": 0.0}, "--refine_bulk: expected a number in "),
        ({"plateau_delta": -0.1}, "--plateau_delta: "),
        (
            {"rewarm_epochs": 2, "schedule": "constant"},
            "--rewarm_epochs: expected 0 with --schedule=constant",
        ),
        ({"rollback_rate": 0.0}, "--rollback_rate: "),
        ({"rollbacks": -1}, "--rollbacks: "),
        ({"replicas": 2}, "--replicas: expected --strategy=mirrored"),
        ({"tpu": "local"}, "--tpu: expected --strategy=tpu with it. Received 'none'"),
        ({"strategy": "moon"}, "--strategy: "),
        ({"precision": "float8"}, "--precision: "),
    ],
)
def test_bad_values_name_flag_expectation_and_value(change, message):
    with pytest.raises(OptionError, match=message) as error:
        dataclasses.replace(Options(), **change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(p.name for p in ROOT.glob("*.flags")))
def test_the_shipped_flag_files_are_valid(flag_values, monkeypatch, name):
    monkeypatch.chdir(ROOT)  # They include one another by name.
    flag_values(["train", f"--flagfile={name}"])
    found = option_table.from_flags(Options, flag_values)
    assert found != Options()
    if name == "cifar.flags":
        assert found.refine_epochs == (30, 50, 70) and found.epochs == 120
    if name.startswith("cifar") and found.refine_epochs:
        # Grown from K = 1: eps = 1, and transitions as they would be with it.
        net = continuous_net(found.preset)
        assert {block.horizon for block in blocks_of(net)} == {1}
        assert not any(layer.name == "stitch" for layer in layers_of(net))
        assert found.horizon is found.stitch is found.padding is None
    if name == "resnet.flags":
        assert PRESETS["resnet20"].get("style", "post") == "post"
        assert found.preset == "resnet20" and found.refine_epochs == ()


def test_a_refinement_ends_the_rise_before_it():
    """So that a decay after its own rise is no lost one."""
    Options(
        schedule="step",
        warmup_epochs=10,
        refine_epochs=(4,),
        rewarm_epochs=2,
        decay_epochs=(8,),
    )
