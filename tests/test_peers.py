"""How peers are compared: processes that take turns, tables, records, environments."""

import functools
import json
import sys

import pytest
from trained_run import parse

from trainers import benchmark, command_times, onednn
from trainers.errors import OptionError
from trainers.peers import comparison, environment, figures, machine, record, run
from trainers.peers.comparison import Found, compare
from trainers.peers.process import PeerError, PeerProcess
from trainers.peers.table import NETS, PEERS, PROGRAMS

# A peer whose steps take no time. `fails` is the command that ends it.
FAKE = f"""
import sys
sys.path.insert(0, {str(PROGRAMS)!r})
import turns
session = turns.Session()
job = session.job
print("a library that prints")
if getattr(job, "why", None):
    session.refuse(job.why)
size = {{"parameters": 5, "macs": job.macs}}
session.answers |= {{"sgemm": lambda: 0.5, "size": lambda: size}}
def end():
    sys.stderr.write("ValueError: the last words\\nFor simplicity\\n")
    raise SystemExit(1)
session.answers[job.fails] = end
session.lap("build")
while True:
    session.stepped(job.seconds)
    session.wait()
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Starts a fake peer: settings to a process."""
    monkeypatch.setattr(comparison, "PAUSE", 0)
    program = tmp_path / "fake.py"
    program.write_text(FAKE)

    def start(patience=60, **settings):
        job = {"seconds": 1.0, "macs": 100, "fails": "nothing", **settings}
        return PeerProcess(sys.executable, program, job, patience=patience)

    return start


def test_a_peer_answers_commands_and_nothing_that_it_prints(fake):
    with fake(seconds=0.25) as process:
        assert list(process.start) == ["import", "build", "first"]
        assert process.ask("step") == 0.25
        assert process.ask("size") == {"parameters": 5, "macs": 100}
        assert process.ask("memory") > 1e6


def test_peers_that_fail_are_told_in_a_line_and_left_out(fake):
    told = []
    settings = {
        "ours": {},
        "refuses": {"why": "no compiler"},
        "ends": {"fails": "sgemm"},
        "ends late": {"fails": "size"},
        "theirs": {"seconds": 2.0},
    }
    starts = {name: functools.partial(fake, **job) for name, job in settings.items()}
    found = compare(starts, 2, told.append, room=lambda _: True)
    assert list(found) == ["ours", "theirs"]
    for words in ("refuses: no compiler", "ends: ", "ends late: "):
        assert any(line.startswith(words) for line in told), told
    assert sum("the last words" in line for line in told) == 2
    assert (found["theirs"].steps, found["theirs"].first) == ([2.0] * 2, [1.0] * 2)


def test_the_first_peer_must_not_fail(fake):
    with pytest.raises(PeerError, match="the last words"):
        compare({"ours": functools.partial(fake, fails="sgemm")}, 1, lambda _: None)


def test_peers_without_room_come_later_beside_the_first(fake):
    alive = []

    def start(name):
        alive.append(name)
        return fake()

    starts = {name: functools.partial(start, name) for name in ("ours", "b", "c")}
    found = compare(starts, 2, lambda _: None, room=lambda _: False)
    assert alive == ["ours", "b", "c"]
    assert [len(one.steps) for one in found.values()] == [4, 2, 2]
    assert all(one.memory and one.size for one in found.values())


def test_a_peer_that_does_not_answer_is_ended(tmp_path):
    program = tmp_path / "hangs.py"
    program.write_text("import time; time.sleep(60)")
    with pytest.raises(PeerError, match="none within 0.2 s"):
        PeerProcess(sys.executable, program, {}, patience=0.2)


def found(steps, first=(), macs=100, products=(2.0,), parameters=5):
    size = {"parameters": parameters, "macs": macs}
    start = {"import": 1.0, "build": 2.0, "first": 3.0}
    return Found(start, list(steps), list(products), list(first), 10**6, size)


def test_speeds_are_medians_and_ratios_are_of_the_same_rounds():
    # A machine that is slower from round to round; theirs takes twice as long. Ours
    # had more turns, beside peers that came later.
    ours = found([1.0, 2.0, 4.0, 8.0, 16.0])
    theirs = found([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    rows = figures.rows_of("net", {"cnet_tf": ours, "pytorch": theirs}, batch=8)
    assert [row["images_per_second"] for row in rows] == [2, 2]
    assert (rows[0]["lowest"], rows[0]["highest"]) == (0.5, 8)
    assert [row["ahead"] for row in rows] == [1, 2]
    assert rows[0]["start_s"] == 6


def test_nets_of_other_sizes_are_compared_by_multiply_adds():
    larger = found([2.0], [1.0], macs=200)
    rows = figures.rows_of("net", {"cnet_tf": found([1.0]), "resnet": larger}, 8)
    assert rows[1]["ahead"] == 1


def test_r_is_one_where_a_step_is_as_fast_as_a_product():
    product = 2 * figures.SIZE**3  # In a second.
    one = found([1.0], macs=product // 6, products=[1.0])
    (row,) = figures.rows_of("net", {"cnet_tf": one}, batch=1)
    assert row["R"] == pytest.approx(1, rel=1e-3)


def test_a_peer_of_another_net_is_told():
    ours, other = found([1.0]), found([1.0], [1.0], parameters=6)
    names = {"cnet_tf": ours, "jax": other, "resnet": other}
    (line,) = figures.mismatches(figures.rows_of("net", names, 8))
    assert line.startswith("net, jax: expected") and "'parameters': 6" in line


CPU = """\
model name\t: Some CPU
cpu family\t: 25
model\t\t: 17
flags\t\t: fpu avx2 sse4_2 avx512f hypervisor fma
model name\t: Some CPU
"""


def test_a_kind_of_machine_is_what_kernels_depend_on():
    kind = machine.kind(CPU, 2)
    assert kind == "Some CPU family/model 25/17 2 cores avx2 avx512f fma sse4_2"
    assert machine.kind(CPU.replace(" avx512f", ""), 2) != kind
    assert machine.kind(CPU, 4) != kind
    assert machine.kind(CPU.replace(" hypervisor", ""), 2) == kind
    assert machine.kind()


def test_a_record_is_kept_by_kind_of_machine_and_judges_nothing(tmp_path):
    path = tmp_path / "record.json"
    rows = figures.rows_of("net", {"cnet_tf": found([1.0])}, batch=8)
    assert "No table is recorded" in record.compared(rows, "a", path)
    assert "--record" in record.compared(rows, "a", path)
    record.record(rows, "a", "1234", path)
    record.record(rows, "b", None, path)
    slower = figures.rows_of("net", {"cnet_tf": found([2.0])}, batch=8)
    slower += figures.rows_of("net", {"jax": found([2.0])}, batch=8)
    text = record.compared(slower, "a", path)
    assert "1234" in text and "net, cnet_tf: 0.50 x images/s, 0.50 x R" in text
    assert "net, jax: not recorded" in text


def test_an_environment_is_built_when_its_packages_change(tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(environment, "_run", lambda _, *words: built.append(words))
    monkeypatch.setattr(environment, "PROGRAMS", tmp_path)
    file = tmp_path / "requirements-x.txt"
    for text, runs in (("a==1", 2), ("a==1", 0), ("a==2", 2)):
        file.write_text(text)
        built.clear()
        (tmp_path / "build" / "x").mkdir(parents=True, exist_ok=True)
        python = environment.interpreter("x", tmp_path / "build", lambda _: None)
        assert len(built) == runs
    assert python == str(tmp_path / "build" / "x" / "bin" / "python")
    assert str(file) in built[-1]
    assert environment.interpreter(None) == sys.executable


def test_what_cannot_be_installed_is_a_line_and_the_rest_goes_on(tmp_path, monkeypatch):
    install = environment._run

    def fail(folder, *_):
        words = "print('details', flush=True); raise SystemExit('no index')"
        install(folder, sys.executable, "-c", words)

    monkeypatch.setattr(environment, "BUILD", tmp_path)
    told = []
    with monkeypatch.context() as patch:
        patch.setattr(environment, "_run", fail)
        pythons = run.installed(["cnet_tf", "jax", "diffrax", "keras"], told.append)
        assert list(pythons) == ["cnet_tf", "keras"]
        with pytest.raises(OptionError, match="--only: expected a peer that can be"):
            run.installed(["jax"], told.append)
    lines = [line for line in told if "no index" in line]
    assert len(lines) == 2 and "jax could not be installed" in lines[0]


def test_peers_have_the_environment_of_the_user(monkeypatch):
    monkeypatch.setattr(onednn, "_set_here", False)
    monkeypatch.delenv(onednn.VARIABLE, raising=False)
    onednn.switch_on()
    assert onednn.setting() == "1"
    assert onednn.VARIABLE not in onednn.user_environment()
    onednn.switch_on()  # As if the user had set it.
    assert onednn.user_environment()[onednn.VARIABLE] == "1"


@pytest.fixture
def faked(fake, monkeypatch):
    """Peers that are fakes, as many images/s as their names are long."""
    monkeypatch.setattr(
        run,
        "start",
        lambda name, python, job, **environment: fake(seconds=float(len(name)), **job),
    )
    monkeypatch.setattr(
        run, "installed", lambda names: dict.fromkeys(names, sys.executable)
    )


def suffixes(folder, name):
    return {path.suffix for path in folder.glob(f"{name}.*")}


def test_a_comparison_writes_its_table_as_text_data_and_picture(
    faked, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(record, "RECORD", tmp_path / "record.json")
    out = tmp_path / "out"
    words = ["--peers", "--only=cnet_tf,resnet", "--rounds=2", f"--output={out}"]
    benchmark.main(parse([*words, "--record"], benchmark.Options))
    assert "No table is recorded" in capsys.readouterr().out
    assert suffixes(out, "peers") == {".md", ".csv", ".json", ".png"}
    rows = (out / "peers.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * len(NETS)
    assert PEERS["resnet"].title in (out / "peers.md").read_text()
    benchmark.main(parse(words, benchmark.Options))
    assert "cnet_tf: 1.00 x images/s" in capsys.readouterr().out


def test_starts_are_measured_over_k(faked, tmp_path):
    words = ["--peers", "--nodes=1,2", "--only=cnet_tf,jax", f"--output={tmp_path}"]
    benchmark.main(parse(words, benchmark.Options))
    assert suffixes(tmp_path, "starts") == {".md", ".csv", ".json", ".png"}
    assert len((tmp_path / "starts.csv").read_text().splitlines()) == 5


def test_where_no_peer_starts_there_is_a_line(fake, faked, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "start", lambda *_, **__: fake(why="no compiler"))
    words = ["--peers", "--nodes=1", "--only=jax", f"--output={tmp_path}"]
    with pytest.raises(PeerError, match="--only: expected a peer that starts"):
        benchmark.main(parse(words, benchmark.Options))


def test_commands_are_timed_beside_their_start(tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text("import sys, time\nif not sys.argv[1:]: time.sleep(0.4)")
    monkeypatch.setattr(command_times, "COMMANDS", {"sleeps": (str(script),)})
    benchmark.main(parse(["--commands", f"--output={tmp_path}"], benchmark.Options))
    assert suffixes(tmp_path, "commands") == {".md", ".csv", ".json"}
    (row,) = json.loads((tmp_path / "commands.json").read_text())["rows"]
    assert row["wall_s"] > row["start_s"] + 0.2
    script.write_text("raise SystemExit('the last words')")
    with pytest.raises(OptionError, match="--commands: .* the last words"):
        command_times.rows_of(command_times.COMMANDS)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--only=jax"], "--only: expected --peers"),
        (["--record"], "--record: expected --peers"),
        (["--peers", "--presets=resnet20"], "--presets: expected any of cifar10_2"),
        (["--peers", "--nodes=1", "--record"], "--record: expected no --nodes"),
        (
            ["--peers", "--nodes=1", "--presets=cifar10_2-2-2_euler,cifar10_8-8-8_rk4"],
            "--presets: expected one",
        ),
        (["--peers", "--precision=float64"], "--precision: expected 'float32'"),
        (["--peers", "--variants=xla"], "--variants: expected"),
        (["--peers", "--commands"], "--commands: expected False with --peers"),
    ],
)
def test_flags_that_exclude_one_another_are_refused(flags, named):
    with pytest.raises(OptionError, match=named):
        parse(flags, benchmark.Options)
