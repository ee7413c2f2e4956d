import math

import numpy as np
import pytest
from markdown_tables import cells_of

from export import parity
from export.gate import Gate, check, row
from trainers import results

EXACT = Gate.exact(1e-5)
_IMAGES = np.arange(140, dtype=np.uint8).reshape(140, 1, 1, 1)
_LABELS = np.arange(140) % 3


def _logits(pixels):
    """Votes for pixel mod 3."""
    return np.eye(3, dtype="float32")[pixels.reshape(-1) % 3]


def _export(pixels):
    logits = _logits(pixels)
    return {"logits": logits, "label": logits.argmax(-1)}


@pytest.mark.parametrize(
    "count, sizes",
    [(1, [1]), (5, [1, 4]), (8, [1, 7]), (300, [1, 7, 128, 128, 36])],
)
def test_split_covers_all_images_with_a_single_and_an_odd_batch(count, sizes):
    images = np.arange(count)
    batches = list(parity.split(images))
    assert [len(batch) for batch in batches] == sizes
    np.testing.assert_array_equal(np.concatenate(batches), images)


def test_edge_batches_reach_both_ends_of_the_range():
    edges = parity.edge_batches((4, 5, 3))
    assert {batch.shape[1:] for batch in edges.values()} == {(4, 5, 3)}
    assert {batch.dtype for batch in edges.values()} == {np.dtype("uint8")}
    assert edges["black"].max() == 0 and edges["white"].min() == 255
    assert len(edges["black, white, noise"]) % 2 == 1


def test_equal_functions_have_no_delta_and_equal_accuracy():
    found = parity.compare(_logits, _export, _IMAGES, _LABELS)
    assert found.delta == 0
    assert found.reference_accuracy == found.candidate_accuracy == 1
    check(found, EXACT)


def test_labels_that_differ_from_those_of_keras_ask_for_real_images():
    def other(pixels):
        logits = np.roll(_logits(pixels), len(pixels) == 7, axis=-1)
        return {"logits": logits, "label": logits.argmax(-1)}

    found = parity.compare(_logits, other, _IMAGES, None)
    message = "label of Keras on 98.57 % .*Received 95.00 % of 140 .*with --images"
    with pytest.raises(parity.ParityError, match=message):
        check(found, Gate.reduced())


@pytest.mark.parametrize(
    "wrong_for, worst",
    [
        (lambda pixels: len(pixels) == 1, "images 0..0"),
        (lambda pixels: len(pixels) == 7, "images 1..7"),
        (lambda pixels: 139 in pixels, "images 136..139"),
        (lambda pixels: len(pixels) == 1 and pixels.min() == 255, "white"),
    ],
)
def test_a_difference_in_any_batch_fails_the_gate(wrong_for, worst):
    def broken(pixels):
        outputs = _export(pixels)
        return {**outputs, "logits": outputs["logits"] + 2e-5 * wrong_for(pixels)}

    found = parity.compare(_logits, broken, _IMAGES, _LABELS)
    assert found.delta == pytest.approx(2e-5, rel=0.01)
    if worst != "images 0..0":  # Single edge images then differ as much.
        assert found.worst == worst
    check(found, Gate.exact(1e-4))
    with pytest.raises(parity.ParityError, match="within 1e-05.*Received.*2.0e-05"):
        check(found, EXACT)


def test_accuracy_of_the_export_is_that_of_its_own_labels():
    found = parity.compare(
        _logits, lambda x: {**_export(x), "label": np.zeros(len(x))}, _IMAGES, _LABELS
    )
    assert found.candidate_accuracy == pytest.approx(np.mean(_LABELS == 0))
    assert found.reference_accuracy == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_fail(bad):
    logits = np.zeros((2, 3), "float32")
    broken = logits.copy()
    broken[1, 2] = bad
    for pair in [(logits, broken), (broken, logits), (broken, broken)]:
        assert parity.max_delta(*pair) == np.inf
    for gate in (EXACT, Gate.reduced()):
        for delta in (np.nan, np.inf):
            with pytest.raises(parity.ParityError):
                check(parity.Parity(delta, "x", 1, 1, 1), gate)


@pytest.mark.parametrize(
    "gate, reference, candidate, passes",
    [
        (EXACT, 0.7650, 0.7652, True),
        (EXACT, 0.7652, 0.7650, True),
        (EXACT, 0.7650, 0.7653, False),
        (EXACT, 0.7653, 0.7650, False),
        (Gate.reduced(), 0.7650, 0.7600, True),
        (Gate.reduced(), 0.7650, 0.7599, False),
        (Gate.reduced(), 0.7650, 0.8, True),
    ],
)
def test_the_gate_of_accuracy(gate, reference, candidate, passes):
    found = parity.Parity(0.0, "x", 10_000, reference, candidate)
    if passes:
        check(found, gate)
    else:
        with pytest.raises(parity.ParityError, match="expected an accuracy"):
            check(found, gate)


@pytest.mark.parametrize(
    "images, lost, passes",
    [
        (355, 2, True),  # 0.56 points, as one image is 0.28.
        (355, 3, False),
        (40, 2, True),
        (40, 3, False),
        (1000, 5, True),
        (1000, 6, False),
    ],
)
def test_a_gate_knows_the_points_of_one_image(images, lost, passes):
    right = int(0.98 * images)
    found = parity.Parity(0.0, "x", images, right / images, (right - lost) / images)
    gate = Gate.reduced()
    if passes:
        check(found, gate)
    else:
        message = f"on {images} images, each worth {100 / images:.2g} points"
        with pytest.raises(parity.ParityError, match=message):
            check(found, gate)
    # Where nothing is lost to precision, no image may be.
    with pytest.raises(parity.ParityError, match="0.02 points below"):
        check(found, EXACT)


def test_the_gate_in_a_row_is_the_one_that_is_checked():
    found = parity.Parity(0.0, "x", 355, 0.98, 0.98)
    assert row("a", 1, found, Gate.reduced(), 1)["gate"] == "-0.56 points"
    found = parity.Parity(0.0, "x", 1000, 0.98, 0.98, compared="probabilities")
    assert row("a", 1, found, EXACT, 1)["gate"] == "5e-06"


def _softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def test_the_gate_grows_with_logits_beyond_ten():
    """As rounding does: float32 has seven digits of any number."""
    logits = np.array([[40.0, -2.0]])
    images = np.zeros((3, 4, 4, 1), np.uint8)
    gate = Gate.exact(1e-5)

    def compared(scale, delta):
        return parity.compare(
            lambda x: np.repeat(scale * logits, len(x), axis=0),
            lambda x: {"logits": np.repeat(scale * logits + delta, len(x), axis=0)},
            images,
            None,
        )

    check(compared(1, 3e-5), gate)
    for scale, delta in ((1, 5e-5), (0.25, 1.1e-5)):
        with pytest.raises(parity.ParityError, match="expected logits within"):
            check(compared(scale, delta), gate)


def test_probabilities_are_compared_where_there_are_no_logits():
    def export(pixels, error=0.0):
        return {"probabilities": _softmax(_logits(pixels)) + error}

    found = parity.compare(_logits, export, _IMAGES, _LABELS)
    assert found.compared == "probabilities" and found.delta < 1e-6
    assert found.candidate_accuracy == 1
    check(found, EXACT)
    found = parity.compare(_logits, lambda x: export(x, 6e-6), _IMAGES, _LABELS)
    with pytest.raises(parity.ParityError, match="expected probabilities within 5e-06"):
        check(found, EXACT)  # Half of what logits may differ.


@pytest.mark.parametrize("shift", [0, 1])
def test_labels_alone_are_compared_by_accuracy(shift):
    def export(pixels):
        return {"label": (_logits(pixels).argmax(-1) + shift) % 3}

    found = parity.compare(_logits, export, _IMAGES, _LABELS)
    cells = row("a", 1, found, EXACT, 1)
    assert not [heading for heading in cells if "delta" in heading]
    if shift:
        with pytest.raises(parity.ParityError, match="expected an accuracy"):
            check(found, EXACT)
    else:
        check(found, EXACT)


def test_logits_of_as_many_images_as_asked_for_are_compared():
    def broken(pixels):
        return {**_export(pixels), "logits": _logits(pixels) + (139 in pixels)}

    assert parity.compare(_logits, broken, _IMAGES, _LABELS, 100).delta == 0
    assert parity.compare(_logits, broken, _IMAGES, _LABELS, 140).delta == 1


def test_another_shape_is_refused_even_if_it_broadcasts():
    with pytest.raises(parity.ParityError, match=r"\(4, 3\).*Received \(1, 3\)"):
        parity.max_delta(np.zeros((4, 3)), np.zeros((1, 3)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda p: p[..., ::-1], "probabilities within 5e-06 of Keras. .* of 3.6e-01"),
        (lambda p: p + 9e-6, "parity: expected probabilities within 5e-06 of Keras"),
        (
            lambda p: p * np.nan,
            "probabilities within 5e-06 of Keras. Received a .* inf",
        ),
        (lambda p: p + 4e-6, None),
    ],
)
def test_probabilities_beside_logits_are_compared_too(wrong, message):
    def export(pixels):
        logits = _logits(pixels)
        return {"logits": logits, "probabilities": wrong(parity._softmax(logits))}

    def checked():
        check(parity.compare(_logits, export, _IMAGES, _LABELS), EXACT)

    if message is None:
        return checked()
    with pytest.raises(parity.ParityError, match=message):
        checked()


@pytest.mark.parametrize(("off", "passes"), [(0.004, True), (0.02, False)])
def test_probabilities_of_few_bits_are_those_of_the_logits(off, passes):
    """Votes come from the labels, so that nothing else tells."""

    def export(pixels):
        logits = _logits(pixels)
        shifted = parity._softmax(logits) + off
        return {"logits": logits, "probabilities": shifted, "label": logits.argmax(-1)}

    found = parity.compare(_logits, export, _IMAGES, _LABELS)
    if passes:
        return check(found, Gate.reduced())
    with pytest.raises(parity.ParityError, match="within 1e-02 of the softmax"):
        check(found, Gate.reduced())


def test_an_infinite_logit_is_a_matter_of_the_gate():
    def export(pixels):
        logits = _logits(pixels) * np.where(np.arange(3) == 1, np.inf, 1)
        return {"logits": logits, "probabilities": parity._softmax(logits)}

    with np.errstate(invalid="ignore"):
        found = parity.compare(_logits, export, _IMAGES, _LABELS)
    with pytest.raises(parity.ParityError, match="logits within"):
        check(found, EXACT)


def test_table_is_aligned_markdown():
    found = parity.Parity(1.2e-6, "white", 1000, 0.5, 0.25)
    rows = [
        row("rk4-2", 1_234_567, found, EXACT, 0.0012),
        row("euler-16", 99, found, EXACT, 0.1),
    ]
    lines = results.table(rows).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    header, first, second = cells_of("\n".join(lines))
    assert header == list(rows[0])
    assert first == [
        "rk4-2", "1,234.6", "1.2e-06", "1e-05", "1,000", "0.5000", "0.2500", "1.200"
    ]  # fmt: skip
    assert second[0] == "euler-16"


def test_logits_are_the_reference_s_and_a_voter_counts_only_behind_them():
    seen = []

    def voter(pixels):
        seen.extend(pixels.reshape(-1).tolist())
        return _logits(pixels + 1)  # Wrong labels, all of them.

    found = parity.compare(_logits, _export, _IMAGES, _LABELS, 8, voter)
    assert found.delta == 0.0 and seen == list(range(8, 140))
    assert found.reference_accuracy == 8 / 140 and found.candidate_accuracy == 1.0


def test_chance_loses_no_half_point_on_as_many_images_as_are_usual():
    gate = Gate.reduced()
    images = gate.usual_images
    # Of 2 % of labels that a rounding changes, as many become right as wrong.
    spread = math.sqrt(0.02 * images)
    assert gate.allowed_drop(images) / 100 * images > 3 * spread
    assert EXACT.usual_images < images


def test_one_vote_of_as_many_images_as_are_usual_is_within_the_exact_gate():
    """Two logits of an image may tie within the rounding of the export."""
    images = EXACT.usual_images
    for votes, passes in ((1, True), (2, False)):
        for lost in (votes, -votes):
            found = parity.Parity(0.0, "", images, 0.5, 0.5 - lost / images)
            if passes:
                check(found, EXACT)
            else:
                with pytest.raises(parity.ParityError, match="accuracy"):
                    check(found, EXACT)
