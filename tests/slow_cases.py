"""Many cases of one test, some of which are enough for `make test`."""

import pytest


def fast(cases, *chosen):
    """Cases for `parametrize`: the chosen ones always, all others as slow tests."""
    missing = set(chosen) - set(cases)
    assert not missing, missing
    slow = pytest.mark.slow
    return [
        case
        if case in chosen
        else pytest.param(*(case if isinstance(case, tuple) else [case]), marks=slow)
        for case in cases
    ]
