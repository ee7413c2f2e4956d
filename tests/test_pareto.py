import pytest

from export.pareto import BudgetError, best, front


def row(name, accuracy, milliseconds, size):
    return {
        "manifestation": name,
        "format": "tflite",
        "precision": "int8",
        "accuracy_percent": accuracy,
        "median_ms": milliseconds,
        "size_kb": size,
    }


QUICK, SMALL = row("quick", 70.0, 1.0, 400), row("small", 75.0, 3.0, 100)
GOOD, TWIN = row("good", 77.0, 2.0, 400), row("twin", 77.0, 2.5, 300)
ROWS = [TWIN, SMALL, GOOD, QUICK]


@pytest.mark.parametrize(
    "milliseconds, kilobytes, chosen",
    [
        (None, None, GOOD),  # As accurate as its twin, but quicker.
        (1.5, None, QUICK),
        (None, 350, TWIN),
        (None, 299.9, SMALL),
        (3.0, 100, SMALL),
        (2.0, 400, GOOD),
    ],
)
def test_the_most_accurate_within_the_budget_is_chosen(milliseconds, kilobytes, chosen):
    assert best(ROWS, milliseconds, kilobytes) is chosen


def test_a_budget_that_nothing_fits_is_told():
    with pytest.raises(BudgetError, match="1.0 ms, the smallest 100 kB"):
        best(ROWS, 0.5, None)


def test_what_fails_its_gate_is_no_choice():
    """The best of all, were it an artefact that an export writes."""
    wrong = row("wrong", 99.0, 0.1, 1) | {"passes_gate": False}
    assert best([wrong, *ROWS]) is GOOD
    assert front([wrong, *ROWS]) == [QUICK, GOOD]
    with pytest.raises(BudgetError, match="that some artefact fits"):
        best([wrong, *ROWS], 0.5)


def test_front_is_what_nothing_beats():
    assert front(ROWS) == [QUICK, GOOD]
    assert front(ROWS, "size_kb") == [SMALL, TWIN]
