"""Whatever a description says, it is refused in a line soon, or loaded right.

Thousands of descriptions and headers, made by Hypothesis out of a real net: numbers,
texts, lists and levels that nobody would write, in any place. A few hundred of them are
tried in the fast suite.
"""

import copy
import cProfile
import hashlib
import json
import resource
import struct

import keras
import numpy as np
import pytest
from checkpoint_nets import normal, small

from cnet_tf import bounds, checkpoint, escaping
from cnet_tf.checkpoint import CheckpointError
from cnet_tf.surgery import blocks_of

hypothesis = pytest.importorskip("hypothesis")
strategies = hypothesis.strategies

# Of functions in Python, ten times those of the net itself: a slow machine is no fault.
MOST_CALLS = 500_000
MOST_KB = 200_000
FEW, MANY = 100, 3000

NUMBERS = strategies.one_of(
    strategies.sampled_from(
        [0, -1, 1, 2, 3, 7, 1025, 10**7, 2**31, 2**63, 2**64, 10**400, -(10**9)]
    ),
    strategies.sampled_from([float("nan"), float("inf"), -0.0, 1e308, 1.5, 1e-320]),
    strategies.integers(),
    strategies.floats(),
)
TEXTS = strategies.one_of(
    strategies.sampled_from(
        [
            "",
            "0",
            "\n",
            "\x1b[31m",
            "<script>",
            "../..",
            "same",
            "rk4",
            "hat",
            "x" * 999,
        ]
    ),
    strategies.sampled_from(["Dense", "Lambda", "ContinuousBlock", "keras.layers"]),
    strategies.text(max_size=8),
)


def _nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


VALUES = strategies.one_of(
    NUMBERS,
    TEXTS,
    strategies.none(),
    strategies.booleans(),
    strategies.lists(NUMBERS, max_size=4),
    strategies.dictionaries(TEXTS, NUMBERS, max_size=3),
    strategies.sampled_from([50, 99, 500]).map(_nested),
)
CHANGES = strategies.lists(
    strategies.tuples(
        strategies.floats(0, 1),
        strategies.sampled_from(["set", "number", "drop", "double", "swap"]),
        VALUES,
        NUMBERS,
    ),
    min_size=1,
    max_size=4,
)


def places(value, found=None):
    """Every (container, key) of a JSON value."""
    found = [] if found is None else found
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in items:
        found.append((value, key))
        if isinstance(part, (dict, list)):
            places(part, found)
    return found


def changed(description, changes):
    """A description with some of its parts replaced, dropped, doubled or swapped."""
    description = copy.deepcopy(description)
    for where, how, value, number in changes:
        found = places(description)
        if how == "number":  # Where a number stands already.
            found = [
                (c, k)
                for c, k in found
                if isinstance(c[k], (int, float)) and not isinstance(c[k], bool)
            ] or found
        container, key = found[int(where * (len(found) - 1))]
        if how == "drop":
            del container[key]
        elif how == "double" and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        elif how == "swap":
            other, place = found[-1 - int(where * (len(found) - 1))]
            container[key] = copy.deepcopy(other[place])
        else:
            container[key] = number if how == "number" else value
        if not description:
            break
    return description


@pytest.fixture(scope="module")
def net():
    return small()


@pytest.fixture(scope="module")
def folder(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("net")
    checkpoint.save(net, folder, {"data": {"name": "digits", "mean": [0.5]}})
    checkpoint.load(folder)  # What is imported late is no cost of an example.
    return folder


def outcome(folder):
    """The net of a folder, or None where it was refused as it ought to be."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counter = cProfile.Profile(subcalls=False, builtins=False)
    try:
        found = counter.runcall(checkpoint.load, folder)
    except CheckpointError as error:
        message = str(error)
        assert escaping.is_plain(message) and len(message) < 1100
        assert str(folder) in message
        found = None
    calls = sum(entry.callcount for entry in counter.getstats())
    assert calls < MOST_CALLS, "it takes too long"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    assert grown < MOST_KB, "it takes too much memory"
    return found


def is_right(found, net):
    """The weights are those of the file, and it computes."""
    for a, b in zip(found.net.variables, net.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    for block in blocks_of(found.net):
        assert type(block.steps) is int and 1 <= block.steps <= bounds.MOST_STEPS
        assert 1 <= block.nodes <= bounds.MOST_NODES
    if len(found.net.inputs) == 1 and found.net.input_shape == (None, 2):
        found.net(normal((2, 2)))


def fuzz(examples):
    """Settings of a test of so many examples, the same each time."""
    return hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        # A failing example is small enough, and each costs a net.
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def descriptions(examples):
    """A test of so many descriptions."""

    def test(folder, net):
        path = folder / "net.json"
        original = json.loads(path.read_text())

        @fuzz(examples)
        @hypothesis.given(CHANGES)
        def run(changes):
            path.write_text(json.dumps(changed(original, changes)))
            found = outcome(folder)
            if found is not None:
                is_right(found, net)
            keras.utils.clear_session(free_memory=False)

        try:
            run()
        finally:
            path.write_text(json.dumps(original))

    return test


def headers(examples):
    """A test of so many files of weights, each with its own checksum."""

    def test(folder, net):
        (weights,) = folder.glob("*.safetensors")
        path = folder / "net.json"
        original, description = weights.read_bytes(), json.loads(path.read_text())
        length = int.from_bytes(original[:8], "little")
        header = json.loads(original[8 : 8 + length])

        @fuzz(examples)
        @hypothesis.given(CHANGES, strategies.integers(-9, 9), strategies.booleans())
        def run(changes, more, cut):
            text = json.dumps(changed(header, changes)).encode()
            size = max(0, len(text) + (more if cut else 0))
            content = struct.pack("<Q", size) + text + original[8 + length :]
            sha256 = hashlib.sha256(content).hexdigest()
            file = folder / f"net-{sha256[:16]}.safetensors"
            file.write_bytes(content)
            path.write_text(json.dumps({**description, "sha256": sha256}))
            try:
                found = outcome(folder)
                if found is not None:
                    is_right(found, net)
            finally:
                file.unlink()

        try:
            run()
        finally:
            weights.write_bytes(original)
            path.write_text(json.dumps(description))

    return test


test_a_description_is_refused_or_loaded_right = descriptions(FEW)
test_a_header_is_refused_or_loaded_right = headers(FEW)
test_thousands_of_descriptions = pytest.mark.slow(descriptions(MANY))
test_thousands_of_headers = pytest.mark.slow(headers(MANY))
