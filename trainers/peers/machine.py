"""The kind of machine: everything about it that its speed depends on."""

import os
import pathlib
import platform
import re

# Instructions by which kernels are chosen, on x86 and on Arm.
_VECTORS = re.compile(r"sse4_2|avx.*|fma|amx.*|asimd.*|sve.*|i8mm|bf16")


def kind(text: str | None = None, cores: int | None = None) -> str:
    """Returns processor, family and model, cores and vector instructions in one line.

    Args:
        text: Content of /proc/cpuinfo. Default: that of this machine.
        cores: Number of cores. Default: those that this process may use.
    """
    if text is None:
        try:
            text = pathlib.Path("/proc/cpuinfo").read_text()
        except OSError:  # Not Linux.
            text = f"model name: {platform.processor() or platform.machine()}"
    if cores is None:
        usable = getattr(os, "sched_getaffinity", None)
        cores = len(usable(0)) if usable else os.cpu_count()
    entries = (line.partition(":") for line in text.splitlines())
    facts = {}
    for key, _, value in entries:  # Those of the first core.
        facts.setdefault(key.strip().lower(), value.strip())
    name = facts.get("model name") or facts.get("cpu part") or "unknown"
    numbers = "/".join(facts[key] for key in ("cpu family", "model") if key in facts)
    flags = (facts.get("flags") or facts.get("features") or "").split()
    vectors = sorted(flag for flag in set(flags) if _VECTORS.fullmatch(flag))
    parts = (name, numbers and f"family/model {numbers}", f"{cores} cores", *vectors)
    return " ".join(filter(None, parts))
