"""Folders of images: which files are images, which are left out, and that this is reported."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vision.images.folders import NoImagesError, image_files
from vision.images.limits import ImageLimits
from vision.images.read import Upload, read_uploads
from vision.preprocessing.prepared import Prepared
from vision.preprocessing.registry import Preparation

PICTURES = {"0.png", "1.jfif", "2.JPE", "3", "deep/er/4.PNG", "5.heic"}
HIDDEN = {
    *("._0.png", ".ipynb_checkpoints/0-checkpoint.png", "__MACOSX/0.png", "$RECYCLE.BIN/0.png"),
    *("deep/.hidden/0.png", "@eaDir/0.png/thumb.jpg"),
}
NEVER_MENTIONED = {".DS_Store", "Thumbs.db", "deep/desktop.ini", ".git/HEAD"}
OTHERS = {"labels.csv", "digits.npy", "batch.zip"}


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (9, 8), 200).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder as it comes from a camera, a Mac, Windows and a notebook together."""
    for name in PICTURES | HIDDEN | NEVER_MENTIONED | OTHERS:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"?" if name in NEVER_MENTIONED | OTHERS else encoded("PNG"))
    return tmp_path / "photos"


def test_a_folder_stands_for_its_pictures_whatever_their_names(folder):
    files = image_files([folder])

    assert [name for name, _ in files] == sorted(PICTURES)
    assert all(path == folder / name for name, path in files)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_a_picture_without_a_name_of_one_is_known_by_its_first_bytes(tmp_path, kind):
    (tmp_path / "IMG_0001").write_bytes(encoded(kind))

    assert [name for name, _ in image_files([tmp_path])] == ["IMG_0001"]


def test_what_is_left_out_of_a_folder_is_said_unless_nobody_would_miss_it(folder, capsys):
    image_files([folder])

    said = capsys.readouterr().err
    assert said.startswith(f"Left out of {folder}, as hidden or no image: $RECYCLE.BIN/0.png, ")
    assert said.endswith(f" and {len(HIDDEN | OTHERS) - 3} more\n")
    assert "DS_Store" not in said


def test_a_folder_of_nothing_but_pictures_says_nothing(tmp_path, capsys):
    (tmp_path / "0.png").write_bytes(encoded("PNG"))
    (tmp_path / ".DS_Store").write_bytes(b"?")

    image_files([tmp_path])

    assert capsys.readouterr().err == ""


def test_a_folder_and_an_archive_of_it_hold_the_same_pictures(folder):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.relative_to(folder).as_posix() not in OTHERS:
                archive.write(path, path.relative_to(folder))
    preparation = Preparation(lambda image: Prepared(np.asarray(image)))

    items = read_uploads(
        [Upload("photos.zip", "", stream.getvalue())], ImageLimits(), preparation, archives=True
    )

    assert [item.filename for item in items] == [name for name, _ in image_files([folder])]


def test_a_file_that_is_named_is_taken_hidden_or_not(folder):
    named = [folder / "._0.png", folder / "labels.csv"]

    assert image_files(named) == [("._0.png", named[0]), ("labels.csv", named[1])]


def test_a_hidden_folder_that_is_named_stands_for_its_pictures(folder):
    files = image_files([folder / ".ipynb_checkpoints"])

    assert [name for name, _ in files] == ["0-checkpoint.png"]


def test_a_folder_of_hidden_pictures_alone_holds_none(tmp_path):
    (tmp_path / "._0.png").write_bytes(encoded("PNG"))

    with pytest.raises(NoImagesError, match=r"no file that is not hidden"):
        image_files([tmp_path])


def test_a_link_to_a_folder_is_not_followed_in_silence(tmp_path, capsys):
    (tmp_path / "0.png").write_bytes(encoded("PNG"))
    (tmp_path / "loop").symlink_to(tmp_path)

    files = image_files([tmp_path])

    assert [name for name, _ in files] == ["0.png"]
    assert "loop" in capsys.readouterr().err


def test_a_folder_that_cannot_be_read_is_an_error_and_not_an_empty_one(tmp_path, monkeypatch):
    """Whoever runs the tests may be allowed to read everything."""
    (tmp_path / "0.png").write_bytes(encoded("PNG"))
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refusing(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)

    with pytest.raises(PermissionError, match="locked"):
        image_files([tmp_path])


def test_a_name_that_is_no_text_is_written_out(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(encoded("PNG"))

    assert [name for name, _ in image_files([tmp_path])] == [r"caf\xe9.png"]
