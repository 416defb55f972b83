"""Every broken data set of the corpus ends in one message that names the file, exit code 1, and changes nothing.

``python -m pytest tests/data/test_broken.py -s -k count`` prints how many there are.
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from segexp.check.dataset import CheckSettings
from segexp.check.preflight import check_folders
from segexp.check.scan import find_folders
from segexp.errors import InputError, printable
from tests.data.broken import BOMBS, CASES, put_bytes, snapshot, write_sound
from tests.processes import command, script
from tests.test_cli import run
from tests.test_outputs import nobody

SAMPLE = [name for index, name in enumerate(CASES) if index % 31 == 0]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write_sound(tmp_path_factory.mktemp("sound") / "data")


@pytest.fixture
def folder(sound, tmp_path):
    return Path(shutil.copytree(sound, tmp_path / "data"))


def test_count():
    print(f"\n{len(CASES)} broken data sets")
    assert len(CASES) >= 100


def test_the_sound_one_is_sound(folder, monkeypatch, capsys):
    assert run(monkeypatch, "check", folder) == 0, capsys.readouterr()
    assert check_folders(find_folders(folder), CheckSettings()) == [
        line for line in check_folders(find_folders(folder), CheckSettings()) if "few" in line or "only" in line
    ]


@pytest.mark.parametrize("name", CASES)
def test_one_message_that_names_the_file(folder, monkeypatch, capfd, name):
    broken = CASES[name]
    file = broken.make(folder)
    before = snapshot(folder)
    assert run(monkeypatch, "check", folder, "--json") == 1
    captured = capfd.readouterr()
    (fault,) = json.loads(captured.out)["faults"]
    assert Path(fault["file"]).name == file
    assert any(words in fault["message"] for words in broken.words.split("|"))
    assert len(fault["message"]) > 10
    assert "Traceback" not in captured.out + captured.err
    assert captured.err == ""  # and no decoder talks beside us
    assert snapshot(folder) == before
    assert not Path("owned").exists()


@pytest.mark.parametrize("name", [name for name in CASES if " cut " not in name or "at 5" in name])
def test_the_same_in_words_and_before_a_training(folder, monkeypatch, capfd, name):
    file = CASES[name].make(folder)
    before = snapshot(folder)
    assert run(monkeypatch, "check", folder) == 1
    out = capfd.readouterr().out
    assert printable(file) in out
    assert "\x1b" not in out
    assert snapshot(folder) == before
    with pytest.raises(InputError) as error:  # what a training would say
        check_folders(find_folders(folder), CheckSettings())
    assert "1 fault in the data; nothing was trained" in str(error.value)
    assert printable(file) in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_in_real_processes(folder, tmp_path, name):
    file = CASES[name].make(folder)
    before = snapshot(folder)
    checked = command("check", folder, cwd=tmp_path)
    trained = script("train.py", "task=vesicle", f"data.root={folder}", "output_dir=run", cwd=tmp_path)
    for result, said in ((checked, checked.stdout), (trained, trained.stderr)):
        assert result.returncode == 1
        assert printable(file) in said
        assert "Traceback" not in result.stdout + result.stderr
    assert "nothing was trained" in trained.stderr
    assert not (tmp_path / "run" / "last.pth").exists()
    assert snapshot(folder) == before


MEASURE = """
import sys
from pathlib import Path
from segexp.io.images import read_image
from benchmarks.memory import peak_memory
from segexp.errors import InputError, printable
before = peak_memory()
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_image(path)
    except InputError:
        continue
    sys.exit(f"{path} was read")
print((peak_memory() - before) // 2**20)
"""


def test_what_a_header_claims_is_not_allocated(tmp_path):
    for index, (suffix, data) in enumerate(BOMBS.values()):
        (tmp_path / f"{index}{suffix}").write_bytes(data)

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))

    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, preexec_fn=limit
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 200  # MiB


def test_a_file_that_may_not_be_read(monkeypatch, capsys):
    with tempfile.TemporaryDirectory() as name:
        folder = write_sound(Path(name) / "data")
        secret = folder / "train" / "img" / "a.tif"
        secret.chmod(0)
        Path(name).chmod(0o755)
        run(monkeypatch, "check", folder)  # imports as the user who may
        capsys.readouterr()
        with nobody():
            status = run(monkeypatch, "check", folder, "--json")
        assert status == 1
        (fault,) = json.loads(capsys.readouterr().out)["faults"]
    assert fault["file"].endswith("a.tif")
    assert "Permission denied" in fault["message"]


def test_a_folder_that_may_not_be_read(monkeypatch, capsys):
    with tempfile.TemporaryDirectory() as name:
        folder = write_sound(Path(name) / "data")
        (folder / "train" / "mask").chmod(0)
        Path(name).chmod(0o755)
        run(monkeypatch, "check", folder)
        capsys.readouterr()
        with nobody():
            status = run(monkeypatch, "check", folder, "--json")
        (folder / "train" / "mask").chmod(0o755)
    assert status == 1
    (fault,) = json.loads(capsys.readouterr().out)["faults"]
    assert fault["file"].endswith("mask")
    assert "Permission denied" in fault["message"]


def test_a_file_that_vanishes_while_others_are_read(folder, monkeypatch, capsys):
    from segexp.check import scan

    keep, gone = scan.read_entry, folder / "train" / "img" / "c.tif"

    def reading(*given):
        gone.unlink(missing_ok=True)
        return keep(*given)

    monkeypatch.setattr(scan, "read_entry", reading)
    assert run(monkeypatch, "check", folder, "--json", "--workers", 1) == 1
    (fault,) = json.loads(capsys.readouterr().out)["faults"]
    assert fault["file"].endswith("c.tif")
    assert "no such file" in fault["message"]


def test_a_file_that_shrinks_while_it_is_read(folder, monkeypatch, capsys):
    """A copy that somebody interrupts: the file is shorter than when it was opened."""
    from segexp.io.raster import PictureReader

    put_bytes(folder, ".png", b"")
    monkeypatch.setattr(PictureReader, "__init__", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    (folder / "train" / "img" / "a.png").write_bytes(b"x")
    assert run(monkeypatch, "check", folder, "--json") == 1
    (fault,) = json.loads(capsys.readouterr().out)["faults"]
    assert fault["file"].endswith("a.png")
    assert "Input/output error" in fault["message"]


def test_out_of_memory_is_said_of_the_file(folder, monkeypatch, capsys):
    from segexp.check import scan

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(scan, "image_facts", full)
    assert run(monkeypatch, "check", folder, "--json") == 1
    faults = json.loads(capsys.readouterr().out)["faults"]
    assert {Path(fault["file"]).name for fault in faults} == {"a.tif", "b.tif", "c.tif", "d.tif"}
    assert all("memory" in fault["message"] for fault in faults)


def test_everything_broken_at_once(folder, monkeypatch, capsys):
    (folder / "train" / "img" / "a.tif").write_bytes(b"")
    np.save(folder / "train" / "mask" / "a.npy", np.full((3, 3), 9))
    np.save(folder / "train" / "mask" / "b.npy", np.zeros((3, 3)))
    (folder / "train" / "mask" / "c.npy").unlink()
    (folder / "val" / "img" / "d.tif").unlink()
    assert run(monkeypatch, "check", folder, "--json") == 1
    faults = json.loads(capsys.readouterr().out)["faults"]
    assert {Path(fault["file"]).name for fault in faults} >= {"a.tif", "a.npy", "b.npy", "c.tif", "d.npy"}
