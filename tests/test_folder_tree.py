"""Which files of a folder are images of which split and class; nothing is passed over
without a word."""

import os
import unicodedata

import pytest
from image_sets import is_one_line, write_image, write_set

from trainers.data import folder_tree
from trainers.data.errors import DataError


def names(tree, split):
    return sorted(file.name for file in tree.files[split])


def refusal(root):
    """The one line in which a folder is refused."""
    with pytest.raises(DataError) as error:
        folder_tree.check(folder_tree.read(str(root)))
    assert is_one_line(error)
    return str(error.value)


@pytest.mark.parametrize(
    "train, other, split",
    [
        ("train", "test", "test"),
        ("Train", "Test", "test"),
        ("training", "testing", "test"),
        ("TRAIN", "val", "validation"),
        ("train", "valid", "validation"),
        ("train", "Validation", "validation"),
        ("training_set", "test_set", "test"),
    ],
)
def test_usual_names_of_splits(tmp_path, train, other, split):
    tree = folder_tree.read(str(write_set(tmp_path, (train, other), count=1)))
    assert names(tree, "train") == ["train/cat/0.png", "train/dog/0.png"]
    assert names(tree, split) == [f"{split}/cat/0.png", f"{split}/dog/0.png"]
    assert tree.class_names == ("cat", "dog") and not folder_tree.notes(tree)


def test_two_folders_of_one_split_are_refused(tmp_path):
    write_set(tmp_path, ("train", "val", "valid"))
    assert "one folder of the split validation" in refusal(tmp_path)


LITTER = [
    "train/.ipynb_checkpoints/0.png",
    "train/__MACOSX/0.png",
    "train/@eaDir/0.png",
    ".git/train/0.png",
    "__MACOSX/train/cat/0.png",
    "train/cat/._0.png",
    "train/cat/.hidden.jpg",
    "train/cat/.ipynb_checkpoints/0-checkpoint.png",
    "train/cat/__MACOSX/0.png",
    "train/cat/Thumbs.db",
    "train/desktop.ini",
    "train/.DS_Store",
]


@pytest.mark.parametrize("litter", LITTER)
def test_litter_is_neither_class_nor_image_nor_worth_a_word(tmp_path, litter):
    before = folder_tree.read(str(write_set(tmp_path)))
    write_image(tmp_path / "image.png")
    (tmp_path / litter).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "image.png").rename(tmp_path / litter)
    after = folder_tree.read(str(tmp_path))
    folder_tree.check(after)
    assert after == before and not folder_tree.notes(after)


def test_images_may_lie_deeper(tmp_path):
    write_set(tmp_path)
    (tmp_path / "train" / "cat").rename(tmp_path / "cats")
    (tmp_path / "train" / "cat").mkdir()
    (tmp_path / "cats").rename(tmp_path / "train" / "cat" / "2024")
    tree = folder_tree.read(str(tmp_path))
    folder_tree.check(tree)
    assert names(tree, "train")[0] == "train/cat/2024/0.png"
    assert tree.class_names == ("cat", "dog") and len(tree.files["train"]) == 8


def test_links_are_followed_but_not_in_circles(tmp_path):
    write_set(tmp_path / "set", count=1)
    write_image(tmp_path / "elsewhere" / "9.png")
    os.symlink(tmp_path / "elsewhere", tmp_path / "set" / "train" / "emu")
    os.symlink(".", tmp_path / "set" / "train" / "cat" / "again")
    tree = folder_tree.read(str(tmp_path / "set"))
    assert "train/emu/9.png" in names(tree, "train")
    assert len(tree.files["train"]) == 3


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("train/emu", "train/cat"),
        ("test/emu", "train/dog"),
        ("validation", "train"),
        ("train/cat/more", "train/dog"),
        ("train/cat/up", "train"),
    ],
)
def test_links_do_not_put_images_into_two_classes_or_parts(tmp_path, link, target):
    write_set(tmp_path, count=1)
    (tmp_path / link).symlink_to(tmp_path / target)
    assert "each folder of images once. Received '" in refusal(tmp_path)
    assert folder_tree.images_below(str(tmp_path))


@pytest.mark.parametrize("other", ["cat ", " cat", "c\ufb01", "cat\xa0"])
def test_classes_that_look_alike_are_refused(tmp_path, other):
    one = "cfi" if "\ufb01" in other else "cat"
    write_set(tmp_path, classes=(one, other), count=1)
    assert f"tell apart. Received {min(one, other)!r} and" in refusal(tmp_path)


def test_classes_that_differ_in_case_are_told(tmp_path):
    write_set(tmp_path, classes=("A", "a"), count=1)
    tree = folder_tree.read(str(tmp_path))
    folder_tree.check(tree)
    assert folder_tree.notes(tree) == ["'A' and 'a' are separate classes"]


def test_composed_and_decomposed_names_are_one_class(tmp_path):
    composed = "Käfer"
    decomposed = unicodedata.normalize("NFD", composed)
    assert composed != decomposed
    write_set(tmp_path, classes=("cat",), count=1)
    write_image(tmp_path / "train" / composed / "a.png")
    write_image(tmp_path / "train" / decomposed / "b.png")
    write_image(tmp_path / "test" / decomposed / "c.png")
    tree = folder_tree.read(str(tmp_path))
    folder_tree.check(tree)
    assert tree.class_names == (composed, "cat") == tuple(sorted((composed, "cat")))
    assert names(tree, "test") == [f"test/{composed}/c.png", "test/cat/0.png"]


def test_folders_of_classes_alone_are_all_for_training(tmp_path):
    write_set(tmp_path / "set", ("daisy", "rose"), ("",), count=2)
    tree = folder_tree.read(str(tmp_path / "set"))
    assert list(tree.files) == ["train"] and tree.class_names == ("daisy", "rose")
    (tmp_path / "set" / "tulip").mkdir()
    assert "add images to tulip if these are classes" in refusal(tmp_path / "set")
    write_set(tmp_path / "deep", ("Learning", "Exam"))
    assert "expected a folder train in the set" in refusal(tmp_path / "deep")


def test_a_set_one_folder_deeper_is_named(tmp_path):
    write_set(tmp_path / "pets")
    assert f"name '{tmp_path / 'pets'}'" in refusal(tmp_path)


def test_what_is_passed_over_is_told_by_number_and_name(tmp_path):
    write_set(tmp_path)
    for name in ("train/cat/a.heic", "train/cat/b.HEIC", "test/dog/notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "train" / "dog" / "image").touch()
    (tmp_path / "train" / "list.csv").touch()
    (tmp_path / "unlabelled").mkdir()
    os.mkfifo(tmp_path / "train" / "dog" / "pipe.png")
    os.symlink("nowhere", tmp_path / "train" / "dog" / "link.png")
    tree = folder_tree.read(str(tmp_path))
    (note,) = folder_tree.notes(tree)
    for part in (
        ".heic files: 2 (train/cat/a.heic, train/cat/b.HEIC)",
        ".txt files: 1 (test/dog/notes.txt)",
        "files without a suffix: 1 (train/dog/image)",
        "files outside the class folders: 1 (train/list.csv)",
        "folders that are no split: 1 (unlabelled)",
        "not regular files: 2 (train/dog/link.png, train/dog/pipe.png)",
    ):
        assert part in note
    assert len(tree.files["train"]) == 8


def test_a_class_whose_images_are_all_passed_over_is_refused(tmp_path):
    write_set(tmp_path)
    (tmp_path / "train" / "emu").mkdir()
    assert "none in 'emu': add images" in refusal(tmp_path)
    for i in range(3):
        (tmp_path / "train" / "emu" / f"{i}.heic").touch()
    assert "none in 'emu' (skipped: .heic files: 3): add" in refusal(tmp_path)


def test_a_class_of_test_alone_is_refused(tmp_path):
    write_set(tmp_path)
    write_image(tmp_path / "test" / "emu" / "0.png")
    assert "only classes of train in test. Received 'emu': add" in refusal(tmp_path)
    (tmp_path / "test" / "emu").rename(tmp_path / "test" / "Cat")
    assert "Received 'Cat', which train spells 'cat'" in refusal(tmp_path)


def test_a_class_without_test_images_is_told(tmp_path):
    write_set(tmp_path)
    write_image(tmp_path / "train" / "emu" / "0.png")
    tree = folder_tree.read(str(tmp_path))
    folder_tree.check(tree)
    assert folder_tree.notes(tree) == ["test has no images of 'emu'"]


def test_one_class_is_refused(tmp_path):
    assert "at least two class folders" in refusal(
        write_set(tmp_path, classes=("cat",))
    )


@pytest.mark.parametrize(
    "name, shown",
    [
        ("a\nb", r"train/a\nb"),
        ("a\x1b[31mb", r"train/a\x1b[31mb"),
        ("a\u202eb", r"train/a\u202eb"),
        ("a\u2028b", r"train/a\u2028b"),
        (b"a\xffb", r"train/a\udcffb"),
    ],
)
def test_names_that_lines_cannot_show_are_refused(tmp_path, name, shown):
    write_set(tmp_path)
    os.mkdir(os.path.join(os.fsencode(tmp_path / "train"), os.fsencode(name)))
    message = refusal(tmp_path)
    assert "class names without control characters" in message
    assert f"Received '{shown}'" in message and message.isprintable()


@pytest.mark.parametrize(
    "name", ["a b", "日本語", "कमल\u200dा", "👩\u200d🔬", "a,b", "<b>"]
)
def test_other_names_are_classes(tmp_path, name):
    write_set(tmp_path, classes=("cat", name), count=1)
    tree = folder_tree.read(str(tmp_path))
    assert unicodedata.normalize("NFC", name) in tree.class_names


def test_a_folder_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    write_set(tmp_path)
    scan = os.scandir

    def denied(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", denied)
    assert "dog': Permission denied" in refusal(tmp_path)
