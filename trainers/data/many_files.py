"""Reads many image files at once, and says which of them cannot be read."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from trainers.data import image_files
from trainers.data.class_names import shown
from trainers.data.image_files import Unreadable

# Threads mostly wait for files, and long for those on network drives.
_THREADS = 16
_NAMED = 3  # Entries of a list that a line names.


def each(function: Callable, paths: Sequence[str]) -> dict:
    """Maps paths to what a function returns for each, or the Unreadable it raises."""

    def tried(path):
        try:
            return function(path)
        except Unreadable as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(paths, pool.map(tried, paths), strict=True))


def broken(paths: Sequence[str]) -> dict[str, Unreadable]:
    """Reads all images; returns those that cannot be read."""

    def nothing(path):
        image_files.pixels(path)

    found = each(nothing, paths)
    return {path: error for path, error in found.items() if error is not None}


def listed(found: Mapping[str, Unreadable], root: str) -> str:
    """Names some of the `broken` files below a folder; empty if there are none."""
    names = (
        f"{shown(os.path.relpath(path, root))} ({error})"
        for path, error in sorted(found.items())
    )
    return f"{len(found)} that cannot be read: {few(names)}" if found else ""


def few(names: Iterable[str]) -> str:
    """Lists the first few names, and how many more there are."""
    names = list(names)
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
