"""The check before a training runs once, and again when anything that it rests on has changed."""

import os
from pathlib import Path

import numpy as np
import pytest

from segexp.check import preflight
from segexp.check.cache import cache_folder, recall, remember
from segexp.check.dataset import CheckSettings
from segexp.check.scan import find_folders
from segexp.data.reading import Reading
from segexp.errors import InputError
from tests.check.test_dataset import data as data
from tests.check.test_dataset import scene


@pytest.fixture
def memory(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("user") / "cache"
    monkeypatch.setenv("SEGEXP_CACHE", str(folder))
    return folder / "check"


@pytest.fixture
def scans(monkeypatch):
    """Counts how often files are read."""
    counted = []
    keep = preflight.check_files

    def counting(*arguments, **named):
        counted.append(1)
        return keep(*arguments, **named)

    monkeypatch.setattr(preflight, "check_files", counting)
    return counted


def check(folder, wanted=None):
    return preflight.check_folders(find_folders(folder), wanted or CheckSettings())


def test_a_second_start_reads_nothing_and_says_the_same(data, memory, scans):
    np.save(data / "train" / "mask" / "cell_1.npy", np.zeros((96, 96), bool))
    first = check(data)
    assert len(first) == 1
    assert "without any foreground" in first[0]
    assert check(data) == first
    assert len(scans) == 1
    assert len(list(memory.glob("*.json"))) == 1
    assert not list(data.glob("**/*.json"))


@pytest.mark.parametrize("change", ["touch", "add", "replace", "settings", "forget", "garbage", "foreign"])
def test_a_change_is_noticed(data, memory, scans, change):
    check(data)
    mask, wanted = data / "train" / "mask" / "cell_0.npy", CheckSettings()
    (kept,) = memory.glob("*.json")
    if change == "touch":
        os.utime(mask, (1, 1))
    elif change == "add":
        (data / "train" / "img" / "new.tif").write_bytes((data / "train" / "img" / "cell_0.tif").read_bytes())
        (data / "train" / "mask" / "new.npy").write_bytes(mask.read_bytes())
    elif change == "replace":
        np.save(mask, scene(0)[1].astype(np.int64))
    elif change == "settings":
        wanted = CheckSettings(Reading(channels=3))
    elif change == "forget":
        kept.unlink()
    elif change == "garbage":
        kept.write_bytes(b"\xff{")
    else:
        kept.write_text('{"format": 1, "warnings": [{}]}')
    check(data, wanted)
    assert len(scans) == 2


def test_faults_are_listed_and_never_remembered(data, memory, scans):
    (data / "train" / "img" / "cell_0.tif").write_bytes(b"II*")
    (data / "val" / "mask" / "cell_7.npy").unlink()
    for _ in range(2):
        with pytest.raises(InputError, match="2 faults in the data; nothing was trained") as error:
            check(data)
        assert "cell_0.tif" in str(error.value)
        assert "cell_7.tif" in str(error.value)
    assert not memory.exists()
    assert len(scans) == 2


def test_a_cache_that_cannot_be_written_does_no_harm(data, memory, scans):
    memory.parent.write_text("a file where the folder should be")
    assert check(data) == check(data) == []
    assert len(scans) == 2


def test_a_file_that_vanishes_after_listing_is_named(data, memory, monkeypatch):
    keep = preflight.fingerprint

    def vanish(*arguments):
        (data / "train" / "img" / "cell_0.tif").unlink()
        return keep(*arguments)

    monkeypatch.setattr(preflight, "fingerprint", vanish)
    with pytest.raises(InputError, match=r"cell_0\.tif: no such file"):
        check(data)


def test_only_the_latest_are_kept(memory, monkeypatch):
    monkeypatch.setattr("segexp.check.cache._KEPT", 3)
    for index in range(5):
        assert remember(memory, f"{index:040x}", [str(index)])
        os.utime(memory / f"{index:040x}.json", (index, index))
        (memory / f"somebody{index}.json").write_text("{}")
        os.utime(memory / f"somebody{index}.json", (0, 0))
    left = sorted(path.stem for path in memory.iterdir())
    assert left == [*(f"{index:040x}" for index in (2, 3, 4)), *(f"somebody{index}" for index in range(5))]
    assert recall(memory, f"{4:040x}") == ["4"]
    assert recall(memory, f"{0:040x}") is None


def test_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("SEGEXP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "segexp" / "check"
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: Path("~/.cache/segexp"))  # of nobody
    assert cache_folder() is None
