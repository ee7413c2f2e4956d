"""The picture of a report: nothing hides, budgets and choice are to be seen."""

import io

import matplotlib.image
import numpy as np
import pytest

from export.pareto_picture import picture, spread


def row(name, form, accuracy, milliseconds, size):
    return {
        "manifestation": name,
        "format": form,
        "precision": "int8",
        "accuracy_percent": accuracy,
        "median_ms": milliseconds,
        "size_kb": size,
    }


ROWS = [
    row("rk4-4", "tflite", 98.0, 0.02, 300),
    row("euler-4", "tflite", 97.0, 0.01, 200),
    row("rk4-4", "onnx", 97.5, 0.2, 100),
]


def pixels(content) -> np.ndarray:
    assert content.startswith(b"\x89PNG")
    return matplotlib.image.imread(io.BytesIO(content), format="png")[..., :3]


def seen(image, color) -> int:
    """Pixels of a colour."""
    return int((np.abs(image - matplotlib.colors.to_rgb(color)).max(-1) < 0.02).sum())


def gaps(points):
    found = np.linalg.norm(points[:, None] - points, axis=-1)
    return found[~np.eye(len(points), dtype=bool)]


@pytest.mark.parametrize("count", [2, 5, 40])
def test_points_in_one_place_are_spread(count):
    moved = spread(np.full((count, 2), 3.0), 10)
    assert gaps(moved).min() >= 10 - 1e-6
    np.testing.assert_array_equal(moved[0], [3, 3])
    # Not farther than they must.
    assert np.linalg.norm(moved - 3, axis=1).max() < 12 * (1 + count**0.5)


def test_points_apart_stay_and_heaps_keep_their_distance():
    points = np.random.default_rng(0).uniform(0, 60, (30, 2))
    assert gaps(spread(points, 12)).min() >= 12 - 1e-6
    apart = np.array([[0, 0], [0, 30], [40, 0]], float)
    np.testing.assert_array_equal(spread(apart, 12), apart)


def test_equal_artefacts_are_all_to_be_seen():
    """Two of one latency, size and accuracy: without a spread the first is hidden."""
    twins = [row(name, "tflite", 97.0, 0.02, 200) for name in ("a", "b")]
    image = pixels(picture(twins))
    alone = pixels(picture([twins[0], row("b", "tflite", 95.0, 0.01, 100)]))
    for color in ("C0", "C1"):
        assert seen(image, color) > 0.8 * seen(alone, color)


@pytest.mark.slow
def test_budgets_and_the_choice_are_drawn():
    plain = pixels(picture(ROWS))
    ring = seen(pixels(picture(ROWS, (None, None), ROWS[0])), "black")
    assert ring > seen(plain, "black") + 100
    shaded = [
        seen(pixels(picture(ROWS, budgets)), "0.94")
        for budgets in [(None, None), (0.05, None), (None, 150), (0.05, 150)]
    ]
    assert shaded[0] < min(shaded[1:3]) and max(shaded[1:3]) < shaded[3]


@pytest.mark.parametrize("budgets", [(1e-4, None), (None, 1e5), (1e4, 1e-2)])
def test_a_budget_beyond_all_artefacts_is_in_the_picture(budgets):
    assert seen(pixels(picture(ROWS, budgets)), "crimson") > seen(
        pixels(picture(ROWS)), "crimson"
    )
