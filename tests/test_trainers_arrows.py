"""Imports within trainers/ run down: no circle, no arrow up, none to export/."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# The flow of a run, from the top; modules that are not named are below all of it.
FLOW = (
    ("trainers.train", "trainers.evaluate", "trainers.benchmark"),
    ("trainers.fit",),
    ("trainers.epochs", "trainers.summary"),
    ("trainers.training",),
)
RANK = {name: rank for rank, names in enumerate(FLOW) for name in names}


def modules() -> dict[str, pathlib.Path]:
    found = {}
    for path in (ROOT / "trainers").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports(path, known) -> set[str]:
    """The modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return found


@pytest.fixture(scope="module")
def arrows():
    known = modules()
    return {name: imports(path, known) for name, path in known.items()}


def test_trainers_never_import_exports(arrows):
    up = {name: found for name, found in arrows.items() if "export" in str(found)}
    assert not up


def test_no_arrow_runs_up(arrows):
    bottom = len(FLOW)
    for name, found in arrows.items():
        for other in found & arrows.keys():
            # Siblings of a rank do not import one another either, but at the bottom.
            here, there = RANK.get(name, bottom), RANK.get(other, bottom)
            assert here < there or here == there == bottom, f"{name} -> {other}"
            assert not name.startswith("trainers.data.") or other.startswith(
                "trainers.data."
            ), f"{name} -> {other}"


def test_no_circle(arrows):
    left = {name: found & arrows.keys() for name, found in arrows.items()}
    while left:
        leaves = {name for name, found in left.items() if not found & left.keys()}
        assert leaves, f"a circle among {sorted(left)}"
        left = {name: found for name, found in left.items() if name not in leaves}
