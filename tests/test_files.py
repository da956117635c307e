"""Files are written whole or not at all, whatever happens on the way."""

import errno
import os
import stat
from pathlib import Path

import pytest

from chainrule.files import write_atomically


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    return path


@pytest.mark.parametrize("kind", [str, Path])
def test_new_files_and_old_ones(tmp_path, old, kind):
    write_atomically(kind(old), b"new")
    write_atomically(kind(tmp_path / "g"), b"")
    assert (old.read_bytes(), (tmp_path / "g").read_bytes()) == (b"new", b"")
    assert names_in(tmp_path) == ["f", "g"]


def test_a_reader_sees_the_old_file_until_the_new_one_is_on_the_disk(tmp_path, old, monkeypatch):
    seen, fsync = [], os.fsync

    def look(descriptor):
        what = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        seen.append((what, old.read_bytes(), len(names_in(tmp_path))))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    write_atomically(old, b"new")
    assert seen == [("file", b"old", 2), ("folder", b"new", 1)]


class Stop(BaseException):
    """Neither an Exception nor a KeyboardInterrupt."""


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), Stop()])
@pytest.mark.parametrize("place", [(os, "fsync"), (Path, "replace")], ids=["fsync", "replace"])
def test_what_was_there_stays_and_nothing_else(tmp_path, old, monkeypatch, place, error):
    def fail(*args):
        raise error

    monkeypatch.setattr(*place, fail)
    with pytest.raises(type(error)):
        write_atomically(old, b"new")
    assert old.read_bytes() == b"old"
    assert names_in(tmp_path) == ["f"]


def test_folders_that_cannot_be_synced_are_no_error(old, monkeypatch):
    fsync = os.fsync

    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    write_atomically(old, b"new")
    assert old.read_bytes() == b"new"


def test_the_reason_is_the_systems(tmp_path, old):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "absent" / "f", b"x")
    with pytest.raises(NotADirectoryError):
        write_atomically(old / "f", b"x")
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path, b"x")
    assert names_in(tmp_path) == ["f"]


def test_a_link_stays_a_link(tmp_path, old):
    link = tmp_path / "link"
    link.symlink_to(old.name)
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert old.read_bytes() == b"new"


def test_the_longest_name_fits(tmp_path):
    path = tmp_path / ("x" * 255)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_devices_and_pipes_are_written_to_not_replaced(tmp_path):
    write_atomically("/dev/null", b"x")
    assert Path("/dev/null").is_char_device()
    if Path("/dev/full").exists():
        with pytest.raises(OSError, match="No space left"):
            write_atomically("/dev/full", b"x")
    reader, writer = os.pipe()
    write_atomically(f"/dev/fd/{writer}", b"through")
    os.close(writer)
    assert os.read(reader, 100) == b"through"
    os.close(reader)
