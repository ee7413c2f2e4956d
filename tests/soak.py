"""An hour of training with kills, growth, evaluation and export: is memory flat?

    python tests/soak.py --minutes=60 --output=soak

Trains on CIFAR-10 without an end, growing 1 -> 2 -> 4. Every few minutes the training
is killed, by SIGKILL or SIGTERM, and its command given again. All the while its newest
net is evaluated and exported in every form. Writes soak.csv and soak.png to the output:
the memory of every process over time. Ends with code 1 where a command failed.
"""

import csv
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

from absl import app, flags

ROOT = pathlib.Path(__file__).resolve().parent.parent

MINUTES = flags.DEFINE_float("minutes", 60, "How long, > 0. Default: 60.", 0.1)
OUTPUT = flags.DEFINE_string("output", "soak", "Folder, made anew. Default: soak.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "As for trainers/train.py.")
SEED = flags.DEFINE_integer("seed", 0, "Of the moments of the kills. Default: 0.")

_SAMPLE = 5  # Seconds between two samples of memory.

TRAINING = [
    "trainers/train.py",
    "--dataset=cifar10",
    "--preset=cifar10_2-2-2_euler",
    "--nodes=1",
    "--augment=crop_flip",
    "--validation_fraction=0.02",
    "--epochs=100000",
    "--batches_per_epoch=20",
    "--save_batches=10",
    "--refine_epochs=60,180",
    "--verbose=2",
]
# Beside it, one after the other, over and over.
READERS = {
    "evaluate": ["trainers/evaluate.py", "--examples=500", "--recalibration_batches=2"],
    "saved_model": ["export/saved_model.py", "--parity_images=200", "--version=1"],
    "tflite": ["export/tflite.py", "--parity_images=200"],
    "onnx": ["export/onnx_graph.py", "--parity_images=200"],
}


class Commands:
    """Starts commands of the repository and logs what they print."""

    def __init__(self, output, data_dir):
        self.output = output
        self.shared = [f"--data_dir={data_dir}"] if data_dir else []

    def start(self, name, arguments):
        log = open(self.output / f"{name}.log", "ab")  # noqa: SIM115, the child's
        with log:
            return subprocess.Popen(
                [sys.executable, *arguments, *self.shared],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def train(self):
        return self.start("train", [*TRAINING, f"--runs_dir={self.output}/runs"])

    def read(self, count):
        name = list(READERS)[count % len(READERS)]
        arguments = [*READERS[name], f"--run={self.output}/runs/latest"]
        if name != "evaluate":
            arguments.append(f"--output={self.output}/exports/{count}")
        return name, self.start(name, arguments)


def memory(process) -> float:
    """Resident memory of a process in MB, 0 when it has ended."""
    try:
        text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0.0
    lines = [line for line in text.splitlines() if line.startswith("VmRSS")]
    return int(lines[0].split()[1]) / 1e3 if lines else 0.0


def log_rows(output) -> list[dict]:
    """The epochs so far."""
    try:
        with open(output / "runs" / "latest" / "log.csv") as file:
            return list(csv.DictReader(file))
    except OSError:
        return []


def soak(minutes, output, data_dir, seed):
    """Runs it; returns (samples, failures).

    A sample is (minutes, life of the training, its memory in MB, epochs, steps of the
    net, reader, its memory in MB).
    """
    draw = random.Random(seed)
    commands = Commands(output, data_dir)
    samples, failures = [], []
    begin = time.monotonic()
    training, life, readers, reader = commands.train(), 0, 0, None
    kill = begin + 60 * draw.uniform(4, 9)
    while (now := time.monotonic()) < begin + 60 * minutes:
        if training.poll() is not None:
            failures.append(f"training {life} ended with {training.returncode}")
            break
        if now > kill:
            number = draw.choice([signal.SIGKILL, signal.SIGTERM])
            training.send_signal(number)
            code = training.wait()
            if code != (0 if number == signal.SIGTERM else -signal.SIGKILL):
                failures.append(f"{number.name} ended training {life} with {code}")
            training, life = commands.train(), life + 1
            kill = time.monotonic() + 60 * draw.uniform(4, 9)
        if reader and (code := reader[1].poll()) is not None:
            if code:
                failures.append(f"{reader[0]} {readers} ended with {code}")
            reader, readers = None, readers + 1
        rows = log_rows(output)
        if rows and not reader:
            reader = commands.read(readers)
        samples.append(
            (
                (now - begin) / 60,
                life,
                memory(training),
                len(rows),
                int(rows[-1]["steps"]) if rows else 0,
                reader[0] if reader else "",
                memory(reader[1]) if reader else 0.0,
            )
        )
        time.sleep(_SAMPLE)
    for process in [training, *([reader[1]] if reader else [])]:
        process.terminate()
        process.wait()
    return samples, failures


def picture(samples, path):
    """Memory of the training, life by life, and of what runs beside it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for life in sorted({sample[1] for sample in samples}):
        mine = [sample for sample in samples if sample[1] == life]
        axes.plot([s[0] for s in mine], [s[2] for s in mine], color="C0")
    for i, name in enumerate(READERS, 1):
        mine = [sample for sample in samples if sample[5] == name]
        axes.plot(
            [s[0] for s in mine],
            [s[6] for s in mine],
            ".",
            ms=3,
            color=f"C{i}",
            label=name,
        )
    for before, after in zip(samples, samples[1:], strict=False):
        if 0 < before[4] < after[4]:
            axes.axvline(after[0], color="gray", ls=":")
            axes.annotate(f" {after[4]} steps", (after[0], 220), color="gray")
    axes.plot([], [], color="C0", label="training (each piece one life)")
    axes.set_xlabel("minutes")
    axes.set_ylabel("resident memory, MB")
    axes.set_ylim(-250)
    axes.set_yticks(range(0, 1600, 200))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower center", ncols=5, fontsize="small")
    figure.savefig(path, dpi=120)


def report(samples) -> str:
    """Of each life of the training: memory in its second minute and at its end."""
    lines = [
        "| life | minutes | epochs | steps | MB, 2nd minute | MB, last minute |",
        "|---|---|---|---|---|---|",
    ]
    for life in sorted({sample[1] for sample in samples}):
        mine = [sample for sample in samples if sample[1] == life]
        first, last = mine[0][0], mine[-1][0]
        early = [s[2] for s in mine if first + 1 <= s[0] < first + 2]
        late = [s[2] for s in mine if s[0] > last - 1]
        if early:
            lines.append(
                f"| {life} | {first:.0f}..{last:.0f} | {mine[0][3]}..{mine[-1][3]} | "
                f"{mine[0][4]}..{mine[-1][4]} | {sum(early) / len(early):.0f} | "
                f"{sum(late) / len(late):.0f} |"
            )
    return "\n".join(lines)


def main(_):
    """Soaks, draws, reports."""
    output = pathlib.Path(OUTPUT.value).resolve()
    if output.exists():
        sys.exit(f"error: --output: expected a new folder. Received {str(output)!r}.")
    output.mkdir(parents=True)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    samples, failures = soak(MINUTES.value, output, DATA_DIR.value, SEED.value)
    with open(output / "soak.csv", "w") as file:
        writer = csv.writer(file)
        writer.writerow(
            "minutes life training_mb epochs steps reader reader_mb".split()
        )
        writer.writerows(samples)
    picture(samples, output / "soak.png")
    print(report(samples))
    print("\n".join(failures) or "No command failed.")
    sys.exit(bool(failures))


if __name__ == "__main__":
    app.run(main)
