"""Sorts the images of a folder by split and class, from names alone.

    <root>/train/<class>/**.jpg     train, test and validation have other usual names
    <root>/<class>/*.jpg            all of it is `train`

What is passed over is kept with the tree, so that it can be reported.
"""

import collections
import dataclasses
import os
import random
from collections.abc import Iterator

from trainers.data import image_files
from trainers.data.class_names import appearance, composed, is_plain, shown
from trainers.data.errors import DataError, refuse
from trainers.data.many_files import few

# Splits by the names of their folders, in any case, with or without "_set".
SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
# Left beside the images by systems and tools, like names that start with a dot.
_LITTER = frozenset(
    (
        "__macosx",
        "__pycache__",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "thumbs.db",
        "desktop.ini",
        "icon\r",
    )
)


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """A file with the suffix of an image.

    Attributes:
        path: Path of the file.
        name: `<split>/<class>/<rest of the path>`, the same wherever the set lies.
        label: Its class.
    """

    path: str
    name: str
    label: str


@dataclasses.dataclass(frozen=True)
class Tree:
    """What a folder holds.

    Attributes:
        root: Absolute path.
        files: Images by split, in a fixed order that mixes the classes.
        labels: Names of the class folders by split, with or without images.
        passed: Names of what was passed over, by kind.
    """

    root: str
    files: dict[str, tuple[ImageFile, ...]]
    labels: dict[str, frozenset[str]]
    passed: dict[str, list[str]]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, sorted: those of `train`."""
        return tuple(sorted(self.labels["train"]))

    def without(self, paths) -> "Tree":
        """Returns the tree without the files at these paths."""
        files = {
            split: tuple(file for file in files if file.path not in paths)
            for split, files in self.files.items()
        }
        return dataclasses.replace(self, files=files)


def read(root: str) -> Tree:
    """Lists a folder.

    Args:
        root: Absolute path of a folder.

    Raises:
        DataError: no split to train on, two folders of one split, a class name that
            cannot be shown, a folder that occurs twice through links, or an unreadable
            folder.
    """
    passed = collections.defaultdict(list)
    files, labels, visited = {}, {}, {}
    for split, folder in _split_folders(root, passed).items():
        found = []
        labels[split] = set()
        for entry in _entries(folder):
            if not entry.is_dir():
                passed["files outside the class folders"].append(
                    os.path.relpath(entry.path, root)
                )
                continue
            label = _label(entry, root)
            labels[split].add(label)
            for path in _images(entry.path, root, passed, visited):
                rest = os.path.relpath(path, entry.path).split(os.sep)
                name = composed("/".join((split, label, *rest)))
                found.append(ImageFile(path, name, label))
        found.sort(key=lambda file: (file.label, file.name, file.path))
        # Sets are read part by part, and each part should hold every class.
        random.Random(split).shuffle(found)
        files[split] = tuple(found)
    labels = {split: frozenset(names) for split, names in labels.items()}
    return Tree(root, files, labels, dict(passed))


def is_set(folder: str) -> bool:
    """Whether a folder exists and has something to train on."""
    try:
        return "train" in _split_folders(folder, collections.defaultdict(list))
    except DataError:
        return False


def images_below(folder: str) -> list[str]:
    """Lists the paths of all images in a folder, at any depth, in order of name."""
    return list(_images(folder, folder, collections.defaultdict(list), None))


def check(tree: Tree) -> None:
    """Refuses classes that cannot be learned.

    Raises:
        DataError: fewer than two classes, a class without images to train on, two
            names that look alike, or a class of another split that `train` lacks.
    """
    learned = {file.label for file in tree.files["train"]}
    empty = [label for label in tree.class_names if label not in learned]
    if empty:
        refuse(
            "dataset",
            "images in each class folder of train",
            f"none in {few(map(repr, empty))}{_also(tree)}",
            "add images or remove the folder",
        )
    if len(learned) < 2:
        refuse(
            "dataset",
            "at least two class folders in train",
            f"{few(map(repr, learned)) or 'none'} in {shown(tree.root)!r}",
            "put each class into a folder of its own",
        )
    if twins := _twins(learned, appearance):
        refuse(
            "dataset",
            "class names that a reader can tell apart",
            " and ".join(map(repr, twins)),
            "merge the folders or rename one",
        )
    for split, files in tree.files.items():
        unknown = {file.label for file in files} - learned
        if unknown:
            alike = {_spelt(label): label for label in sorted(learned)}
            twin = alike.get(_spelt(min(unknown)))
            refuse(
                "dataset",
                f"only classes of train in {split}",
                few(map(repr, sorted(unknown)))
                + (f", which train spells {twin!r}" if twin else ""),
                "add images of it to train, or rename or remove the folder",
            )


def notes(tree: Tree) -> list[str]:
    """Lists what a user should know of a tree, one line each."""
    found = []
    if tree.passed:
        kinds = (
            f"{kind}: {len(names)} ({few(map(shown, names))})"
            for kind, names in sorted(tree.passed.items())
        )
        found.append(f"skipped: {'; '.join(kinds)}")
    if twins := _twins(tree.class_names, _spelt):
        names = " and ".join(map(repr, twins))
        found.append(f"{names} are separate classes")
    for split, files in tree.files.items():
        missing = set(tree.class_names) - {file.label for file in files}
        if files and missing:
            names = few(map(repr, sorted(missing)))
            found.append(f"{split} has no images of {names}")
    return found


def _spelt(name) -> str:
    return appearance(name).casefold()


def _twins(names, alike) -> list[str]:
    """Returns the first names that are alike; empty if all differ."""
    groups = collections.defaultdict(list)
    for name in sorted(names):
        groups[alike(name)].append(name)
    return next((group for group in groups.values() if len(group) > 1), [])


def _split_folders(root, passed) -> dict[str, str]:
    """Finds the folder of each split."""
    folders = [entry for entry in _entries(root) if entry.is_dir()]
    found = {}
    for entry in folders:
        split = _split_of(entry)
        if split is None:
            continue
        if split in found:
            names = [os.path.basename(found[split]), entry.name]
            refuse(
                "dataset",
                f"one folder of the split {split} in {shown(root)!r}",
                " and ".join(sorted(names)),
                "merge them or rename one",
            )
        found[split] = entry.path
    bare = [e.name for e in folders if not (found or _holds_images(e))]
    if not found and len(folders) > 1 and not bare:
        return {"train": root}
    if "train" not in found:
        inner = [e.path for e in folders if "train" in map(_split_of, _entries(e.path))]
        remedy = (
            f"name {shown(inner[0])!r}"
            if len(inner) == 1
            else "make a folder train with a folder of images for each class"
        )
        if not found and len(bare) < len(folders):
            remedy += f", or add images to {few(map(shown, bare))} if these are classes"
        refuse(
            "dataset",
            "a folder train in the set",
            f"{shown(root)!r} with {few(shown(e.name) for e in folders) or 'none'}",
            remedy,
        )
    others = [e.name for e in folders if e.path not in found.values()]
    if others:
        passed["folders that are no split"].extend(others)
    return found


def _split_of(entry) -> str | None:
    name = entry.name.lower().removesuffix("set").rstrip(" _-")
    return SPLITS.get(name) if entry.is_dir() else None


def _holds_images(entry) -> bool:
    return any(image_files.is_image(inner.name) for inner in _entries(entry.path))


def _label(entry, root) -> str:
    name = composed(entry.name)
    if not is_plain(name):
        refuse(
            "dataset",
            "class names without control characters",
            f"'{shown(os.path.relpath(entry.path, root))}'",
            "rename the folder",
        )
    return name


def _images(folder, root, passed, visited, above=()) -> Iterator[str]:
    """Yields the paths of images in a folder, at any depth; notes everything else.

    Args:
        folder, root: The folder of a class, and that of the set.
        passed: What was passed over so far, by kind; extended here.
        visited: Folders of images so far. None may come again under another name, as
            its images would be in two classes or parts. Pass None to allow it.
        above: The folders that contain this one.
    """
    identity = os.path.realpath(folder)
    if identity in above:  # A link to a folder that contains it.
        return
    if visited is not None:
        name = shown(os.path.relpath(folder, root))
        other = visited.setdefault(identity, name)
        if other != name:
            refuse(
                "dataset",
                "each folder of images once",
                f"{name!r} and {other!r}, which are the same folder through a link",
                "remove the link or copy other images there",
            )
    for entry in _entries(folder):
        if entry.is_dir():
            inner = (*above, identity)
            yield from _images(entry.path, root, passed, visited, inner)
        elif entry.is_file() and image_files.is_image(entry.name):
            yield entry.path
        else:
            suffix = os.path.splitext(entry.name)[1].lower()
            kind = f"{shown(suffix)} files" if suffix else "files without a suffix"
            if not entry.is_file():
                kind = "not regular files"
            passed[kind].append(os.path.relpath(entry.path, root))


def _entries(folder) -> list[os.DirEntry]:
    """Lists a folder, sorted, without hidden entries and litter."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not _is_litter(entry.name)]
    except OSError as error:
        refuse(
            "dataset",
            "folders that can be read",
            f"{shown(folder)!r}: {error.strerror}",
            "grant access or move the folder away",
        )
    return sorted(found, key=lambda entry: entry.name)


def _is_litter(name) -> bool:
    return name.startswith(".") or name.lower() in _LITTER


def _also(tree) -> str:
    """Says what was passed over, which may be the missing images."""
    kinds = [f"{kind}: {len(names)}" for kind, names in sorted(tree.passed.items())]
    return f" (skipped: {', '.join(kinds)})" if kinds else ""
