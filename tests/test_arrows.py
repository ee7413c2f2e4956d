"""Imports run down: from scripts to what they use, never in a circle, lazy ones too.

cnet_tf <- trainers.data <- trainers,    cnet_tf, trainers.data <- export
"""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("cnet_tf", "trainers", "export")

# From the top, by package. A name stands for all that is in it. Those of a rank do not
# import one another; modules that are not named are below, and may.
FLOWS = {
    "trainers": (
        (
            *("trainers.train", "trainers.evaluate", "trainers.benchmark"),
            *("trainers.compare", "trainers.converge", "trainers.convert"),
            *("trainers.dynamics", "trainers.flow", "trainers.inside"),
            *("trainers.matrix", "trainers.memory", "trainers.ship"),
            *("trainers.short_graphs", "trainers.tolerance"),
        ),
        ("trainers.fit",),
        ("trainers.epochs", "trainers.summary"),
        ("trainers.training",),
        ("trainers.recorder",),
        ("trainers.plan",),
    ),
    "export": (
        (
            *("export.saved_model", "export.tflite", "export.onnx_graph"),
            *("export.report", "export.web", "export.benchmark"),
        ),
        (
            "export.web_page",
            "export.single_file",
            "export.survey",
            "export.report_files",
        ),
        ("export.gated_export",),
        ("export.model_card",),
        ("export.snippets",),
        ("export.job",),
        ("export.options", "export.formats.table"),
        ("export.formats.web",),
        (
            "export.formats.saved_model",
            "export.formats.tflite",
            "export.formats.onnx_graph",
        ),
        ("export.formats.record",),
    ),
}
# What exports use of trainers/: the data, and how a command reads its options, runs and
# writes. Not the loop.
LENT = (
    "trainers.data",
    "trainers.data_option",
    "trainers.disk",
    "trainers.errors",
    "trainers.flops",
    "trainers.option_kinds",
    "trainers.option_table",
    # Plain nets to compare ours with.
    "trainers.peers.programs.keras_nets",
    "trainers.peers.table",
    "trainers.quick_start",
    "trainers.results",
    "trainers.run_lock",
    "trainers.trained_net",
)
# What has to import nothing of the project, as processes that are measured import it.
ALONE = ("export.runtimes", "export.measure")


def modules(root=ROOT) -> dict[str, pathlib.Path]:
    """The files of the packages by the names they are imported with."""
    found = {}
    for path in (path for name in PACKAGES for path in (root / name).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports(text, known) -> set[str]:
    """What a file imports, inside functions too: modules in `known` where it can be."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not read here"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return found


def below(name, packages) -> bool:
    """Whether a module is one of the packages, or in one of them."""
    return any(name == top or name.startswith(f"{top}.") for top in packages)


def circle(arrows) -> list[str]:
    """The modules that are left when leaves are taken away until none is left."""
    left = {name: found & arrows.keys() for name, found in arrows.items()}
    while leaves := {name for name, found in left.items() if not found & left.keys()}:
        left = {name: found for name, found in left.items() if name not in leaves}
    return sorted(left)


def climbs(arrows, flow) -> list[str]:
    """Arrows of one package that do not run down its flow."""
    bottom = len(flow)
    package = flow[0][0].partition(".")[0]

    def rank(module):
        found = (i for i, names in enumerate(flow) if below(module, names))
        return next(found, bottom)

    return [
        f"{name} -> {other}"
        for name in arrows
        for other in arrows[name] & arrows.keys()
        if below(name, [package]) and below(other, [package])
        if not (rank(name) < rank(other) or rank(name) == rank(other) == bottom)
    ]


def between(arrows, package, others, lent=()):
    """The arrows from a package to others, but for what those lend."""
    return {
        f"{name} -> {other}"
        for name in arrows
        if below(name, [package])
        for other in arrows[name]
        if below(other, others) and not below(other, lent)
    }


@pytest.fixture(scope="module")
def arrows():
    known = modules()
    return {name: imports(path.read_text(), known) for name, path in known.items()}


def test_every_package_is_read(arrows):
    for package in PACKAGES:
        assert sum(below(name, [package]) for name in arrows) > 10
    named = {name for flow in FLOWS.values() for names in flow for name in names}
    assert named | {*LENT, *ALONE} <= arrows.keys()


def test_there_is_no_circle(arrows):
    assert circle(arrows) == []


@pytest.mark.parametrize("package", FLOWS)
def test_no_arrow_climbs(arrows, package):
    assert climbs(arrows, FLOWS[package]) == []


@pytest.mark.parametrize(
    "package, others",
    [
        ("cnet_tf", ["absl", "trainers", "export"]),
        ("trainers", ["export"]),
        ("trainers.data", ["export", "absl"]),
    ],
)
def test_what_a_package_never_imports(arrows, package, others):
    assert not between(arrows, package, others)


def test_data_are_below_the_trainers(arrows):
    assert not between(arrows, "trainers.data", ["trainers"], ["trainers.data"])


def test_exports_borrow_data_and_the_runner_of_commands_only(arrows):
    assert not between(arrows, "export", ["trainers"], LENT)


@pytest.mark.parametrize("name", ALONE)
def test_what_a_measured_process_imports(arrows, name):
    assert not [other for other in arrows[name] if below(other, PACKAGES)]


def test_a_circle_is_found_and_a_climb():
    """The tests above can fail: a lazy import closes a circle."""
    files = {
        "export.tflite": "from export import options",
        "export.options": "from export import measure",
        "export.measure": "def read():\n    from export.tflite import reload",
        "export.parity": "import numpy",
    }
    arrows = {name: imports(text, files) for name, text in files.items()}
    assert circle(arrows) == ["export.measure", "export.options", "export.tflite"]
    assert climbs(arrows, FLOWS["export"]) == ["export.measure -> export.tflite"]
