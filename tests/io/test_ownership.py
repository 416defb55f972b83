import errno
import fcntl
import json
import multiprocessing
import os

import pytest

from segexp.errors import InputError
from segexp.io import atomic
from segexp.io.ownership import LOCK, RECORD, OwnedFolder, hold


def test_looking_at_a_folder_writes_nothing(tmp_path):
    folder = OwnedFolder(tmp_path / "out")
    assert not folder.owns("a.txt")
    assert folder.foreign(["a.txt"]) == []
    folder.require_free(["a.txt"])
    assert not (tmp_path / "out").exists()


def test_a_file_is_owned_until_it_is_changed(tmp_path):
    OwnedFolder(tmp_path).write("val/a.csv", "1,2\n", image="x.tif")
    folder = OwnedFolder(tmp_path)
    assert folder.owns("val/a.csv")
    assert folder.names() == ["val/a.csv"]
    (tmp_path / "val" / "a.csv").write_text("1,3\n")
    assert not folder.owns("val/a.csv")
    with pytest.raises(InputError, match="was changed since segexp wrote it"):
        folder.write("val/a.csv", "4")
    assert not folder.remove("val/a.csv")
    assert (tmp_path / "val" / "a.csv").read_text() == "1,3\n"


def test_a_file_of_somebody_else_is_neither_replaced_nor_removed(tmp_path):
    (tmp_path / "a.csv").write_text("mine")
    folder = OwnedFolder(tmp_path)
    with pytest.raises(InputError, match=r"a\.csv exists and was not written by segexp"):
        folder.write("a.csv", "yours")
    assert not folder.remove("a.csv")
    assert (tmp_path / "a.csv").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv"]


def test_an_earlier_content_of_our_own_is_still_ours(tmp_path):
    folder = OwnedFolder(tmp_path)
    folder.write("a", "one")
    folder.note("a", (tmp_path / "b").write_text("two") and tmp_path / "b")  # killed before the rename
    assert OwnedFolder(tmp_path).owns("a")
    OwnedFolder(tmp_path).write("a", "three")
    assert (tmp_path / "a").read_text() == "three"


def test_a_link_is_never_ours(tmp_path):
    folder = OwnedFolder(tmp_path / "out")
    folder.write("a", "one")
    (tmp_path / "target").write_text("one")
    (tmp_path / "out" / "a").unlink()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "target")
    assert folder.foreign(["a"]) == ["a"]
    assert not folder.remove("a")
    (tmp_path / "target").unlink()
    assert folder.foreign(["a"]) == ["a"]  # a broken link is something of the user's, too


def test_a_torn_or_hostile_record_is_survived(tmp_path):
    folder = OwnedFolder(tmp_path)
    folder.write("a", "one")
    known = json.loads((tmp_path / RECORD).read_text())
    outside = {"path": "../secret", "sha256": known["sha256"]}
    with (tmp_path / RECORD).open("a") as file:
        file.write(json.dumps(outside) + "\n[1]\nnull\n" + '{"path": 3, "sha256": []}\n' + '{"path": "b", "sha')
    again = OwnedFolder(tmp_path)
    assert again.names() == ["a"]
    again.write("b", "two")
    assert sorted(OwnedFolder(tmp_path).names()) == ["a", "b"]


def test_a_line_that_another_command_left_torn_costs_no_other_line(tmp_path):
    """As a full disk leaves it in the record of a run, to which the state's file and the logs add lines."""
    folder = OwnedFolder(tmp_path)
    folder.write("a", "one")
    with (tmp_path / RECORD).open("a") as file:
        file.write('{"path": "last.pth", "sha')
    folder.write("b", "two")
    assert sorted(OwnedFolder(tmp_path).names()) == ["a", "b"]


def test_a_block_that_fails_keeps_the_old_file_and_leaves_no_rubbish(tmp_path):
    folder = OwnedFolder(tmp_path)
    folder.write("a", "one")
    with pytest.raises(AttributeError), folder.create("a") as file:
        file.write(b"half").nothing()
    assert (tmp_path / "a").read_text() == "one"
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECORD, "a"]


def test_the_lock_names_the_folder_and_ends_with_its_process(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=_hold_and_die, args=(tmp_path,))
    with hold(tmp_path), pytest.raises(InputError, match="another segexp command is writing"), hold(tmp_path):
        pass
    process.start()
    process.join()
    assert process.exitcode == 9
    with hold(tmp_path):
        assert (tmp_path / LOCK).is_file()


def _fail(error):
    raise OSError(error, os.strerror(error))


def _hold_and_die(folder, error=None):
    if error is not None:
        fcntl.flock = lambda *_: _fail(error)
    with hold(folder):
        os._exit(9)


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_process_killed_on_a_drive_without_locks_holds_nothing(tmp_path, error):
    process = multiprocessing.get_context("spawn").Process(target=_hold_and_die, args=(tmp_path, error))
    process.start()
    process.join()
    assert process.exitcode == 9
    with hold(tmp_path):
        pass


def test_atomic_text_keeps_bytes_of_odd_names_and_plain_permissions(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", None)  # it is of the whole process: a file of another thread would get it
    atomic.write_text(tmp_path / ("n" * 250), "a\udcff")
    assert (tmp_path / ("n" * 250)).read_bytes() == b"a\xff"
    (tmp_path / "plain").touch()
    assert (tmp_path / ("n" * 250)).stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EIO])
def test_drives_that_take_no_permissions_and_cannot_flush(tmp_path, monkeypatch, error):
    monkeypatch.setattr(os, "chmod", lambda *_: _fail(errno.EPERM))
    monkeypatch.setattr(os, "fsync", lambda *_: _fail(error))
    if error == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            atomic.write_text(tmp_path / "a", "x")
        assert not list(tmp_path.iterdir())
        return
    OwnedFolder(tmp_path).write("a", "x")
    assert (tmp_path / "a").read_text() == "x"
    assert OwnedFolder(tmp_path).owns("a")
    atomic.sync(tmp_path / "a")
