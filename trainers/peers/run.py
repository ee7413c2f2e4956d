"""Compares peers and turns the results into files: tables, a picture, the rows."""

import functools
import importlib.metadata
import json
import tempfile

from trainers import onednn, results
from trainers.environment import revision
from trainers.errors import OptionError
from trainers.peers import figures
from trainers.peers.comparison import compare
from trainers.peers.environment import NotInstalled, interpreter
from trainers.peers.machine import kind
from trainers.peers.process import PeerError, PeerProcess
from trainers.peers.table import NETS, PEERS, PROGRAMS


def _tell(text):
    print(text, flush=True)


def installed(names, tell=_tell) -> dict[str, str]:
    """Returns the interpreters of peers; a line says which could not be installed."""
    found, refused = {}, set()
    for name in names:
        needs = PEERS[name].requirements
        try:
            if needs not in refused:
                found[name] = interpreter(needs, tell=tell)
        except NotInstalled as error:
            refused.add(needs)
            tell(f"{error}: its peers are left out")
    if not found:
        raise OptionError(
            f"--only: expected a peer that can be installed. Received {','.join(names)}"
        )
    return found


def start(name, python, job, **environment) -> PeerProcess:
    """Starts a peer as a user would who has set none of our variables."""
    peer = PEERS[name]
    return PeerProcess(
        python,
        PROGRAMS / f"{peer.program}.py",
        {**job, **peer.settings},
        {**onednn.user_environment(), **environment},
    )


def training(nets, names, rounds, batch) -> list[dict]:
    """Returns rows of the peers' speeds, net by net."""
    pythons, rows = installed(names), []
    for net in nets:
        _tell(f"{net}:")
        starts = {
            name: functools.partial(start, name, python, {**NETS[net], "batch": batch})
            for name, python in pythons.items()
        }
        rows += figures.rows_of(net, compare(starts, rounds, _tell), batch)
    for line in figures.mismatches(rows):
        _tell(f"error: {line}")
    return rows


def starting(nodes, scheme, names, batch) -> list[dict]:
    """Returns rows of the peers' starts over K, one at a time, with empty caches."""
    pythons, rows = installed(names), []
    for k in nodes:
        for name, python in pythons.items():
            job = {"nodes": k, "scheme": scheme, "batch": batch}
            try:
                with (
                    tempfile.TemporaryDirectory() as cache,
                    start(name, python, job, TORCHINDUCTOR_CACHE_DIR=cache) as process,
                ):
                    times, memory = process.start, process.ask("memory")
            except PeerError as error:
                _tell(f"K = {k}, {name}: {error}")
                continue
            row = {"nodes": k, "peer": name, **figures.start_of(times)}
            rows.append({**row, "memory_mb": round(memory / 1e6)})
            _tell(f"K = {k}, {name}: {row['start_s']:.1f} s, {memory / 1e6:.0f} MB")
    if not rows:
        raise PeerError("--only: expected a peer that starts. Received none, see above")
    return rows


def note() -> str:
    """Returns machine and versions in a readable line."""
    pins = {
        line.strip()
        for file in PROGRAMS.glob("requirements-*.txt")
        for line in file.read_text().splitlines()
        if "==" in line
    }
    ours = (f"{p}=={importlib.metadata.version(p)}" for p in ("tensorflow", "keras"))
    return f"{kind()}. {', '.join([*ours, *sorted(pins)])}, cnet_tf {revision()}."


def contents(name: str, rows: list[dict], columns: dict, picture=None) -> dict:
    """Returns <name>.md, .csv, .json and, if there is a picture, .png, as bytes."""
    known = note()
    data = json.dumps({"note": known, "rows": rows}, indent=2)
    return {
        f"{name}.md": f"{figures.markdown(rows, columns)}\n\n{known}\n".encode(),
        f"{name}.csv": results.csv_of(rows),
        f"{name}.json": f"{data}\n".encode(),
        **({f"{name}.png": picture} if picture else {}),
    }
