"""Whatever lies in the folder of a run or a sweep and is not segexp's survives every command there, byte for byte."""

import random
import time

import pytest

from segexp.errors import InputError
from segexp.io import atomic
from segexp.io.ownership import OwnedFolder
from segexp.io.run_folder import GROWING, RunFolder
from segexp.sweep.folder import add_job, begin_sweep
from tests.io.test_run_folder import contents, small_run
from tests.processes import command, start

RESERVED = [
    *("last.pth", "best_vesicle_model.pth", "summary.json", "run.json", "report.html", "split.json", "failed.txt"),
    *("metrics.csv", "train.log", "events.out.tfevents.1", "job.json", "job.log", "multirun.yaml", "summary.csv"),
    *("val/a.png", "val/b.png", "val/scores.csv", ".hydra/overrides.yaml", "0/job.json", "1/best_vesicle_model.pth"),
]
OTHERS = ["notes.txt", "x.tif", "img/c1.tif", "val/c1.tif", "mask/c1.npy", "0/c.tif", "earlier_1", "deep/er/job.json"]
KINDS = ("file", "file", "file", "link", "broken link", "folder")


def put(folder, name, kind, text):
    """Something of the user's at this name, in place of what is there; False where its folder cannot be."""
    path = folder / name
    if any(parent.is_symlink() or parent.is_file() for parent in path.relative_to(folder).parents):
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return False
    if path.is_dir() and not path.is_symlink():
        return False
    path.unlink(missing_ok=True)
    if kind == "file":
        path.write_text(text)
    elif kind == "folder":
        path.mkdir()
        (path / "inside").write_text(text)
    else:
        target = folder.parent / f"target of {path.name}"
        if kind == "link":
            target.write_text(text)
        path.symlink_to(target)
    return True


def small_sweep(folder, resume=False, overwrite=False, jobs=2):
    """What a sweep writes, without its jobs' training."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        begin_sweep(folder, resume, False, overwrite, stack)
        top = OwnedFolder(folder, "test")
        top.write("multirun.yaml", "a: 1\n")
        for number in range(jobs):
            add_job(folder, folder / str(number))
            job = OwnedFolder(folder / str(number), "test")
            (folder / str(number)).mkdir(exist_ok=True)
            job.write("job.json", "{}")
            small_run(folder / str(number), job=True)
        OwnedFolder(folder, "test").write("summary.csv", "job\n")


COMMANDS = {
    "train": lambda folder: small_run(folder),
    "train overwrite=true": lambda folder: small_run(folder, overwrite=True),
    "train resume=": lambda folder: small_run(folder, resume=True),
    "train -m": lambda folder: small_sweep(folder),
    "train -m overwrite=true": lambda folder: small_sweep(folder, overwrite=True),
    "train -m sweep.resume=": lambda folder: small_sweep(folder, resume=True),
    "report": lambda folder: OwnedFolder(folder, "test").write("report.html", "page"),
}


@pytest.mark.parametrize("seed", range(60))
def test_what_is_not_segexps_survives_every_command(tmp_path, seed):
    chance = random.Random(seed)
    folder = tmp_path / "out"
    base = chance.choice(["nothing", "run", "sweep"])
    folder.mkdir()
    if base == "run":
        small_run(folder)
    elif base == "sweep":
        small_sweep(folder)
    foreign = {}
    for name in chance.sample(RESERVED + OTHERS, chance.randint(1, 5)):
        before = contents(folder)
        if put(folder, name, chance.choice(KINDS), f"mine {seed} {name}"):
            after = contents(folder)
            foreign |= {key: value for key, value in after.items() if before.get(key, 0) != value}
            foreign = {key: value for key, value in foreign.items() if key in after}
    assert foreign or base != "nothing"
    for _ in range(4):
        name = chance.choice(list(COMMANDS))
        before = contents(folder)
        try:
            COMMANDS[name](folder)
        except InputError:
            if name.startswith("train") and "-m" not in name:
                assert contents(folder) == before, name
        after = contents(folder)
        for path, kept in foreign.items():
            moved = [after[other] for other in after if other.startswith(f"{path}.changed_")]
            assert after.get(path, 0) == kept or kept in moved, (seed, base, name, path)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_succeeds_beside_what_is_not_segexps(tmp_path, name):
    """So that the test above is not passed by refusing everything."""
    folder = tmp_path / "out"
    folder.mkdir()
    if "=" in name:
        (small_sweep if "-m" in name else small_run)(folder)
    for other in ("notes.txt", "img/c1.tif", "deep/er/job.json"):
        assert put(folder, other, "file", f"mine {other}")
    before = contents(folder)
    COMMANDS[name](folder)
    after = contents(folder)
    assert after != before
    for other in ("notes.txt", "img/c1.tif", "deep/er/job.json"):
        assert after[other] == before[other]


KILLED_AT = {
    "the log": "run_log._LogFile",
    "the first note": "run_log.RunLog._note",
    "the first scores": "run_log.RunLog.info",
}


@pytest.mark.parametrize("moment", [*KILLED_AT, "TensorBoard"])
def test_every_file_is_known_before_it_is_made(tmp_path, moment):
    """A process that dies at once, wherever it is in making its logs, leaves no file that the next run takes for
    another's."""
    folder = tmp_path / "out"
    code = f"""
import os
from pathlib import Path
from segexp.training.loggers import run_log, tensorboard_log
def die(*_, **__):
    if {moment != "the first scores"} or Path({str(folder)!r}, "metrics.csv").exists():
        os._exit(9)
    return None
writer = tensorboard_log.SummaryWriter
def made(*words, **more):
    writer(*words, **more)
    os._exit(9)
{KILLED_AT[moment] + " = die" if moment in KILLED_AT else "tensorboard_log.SummaryWriter = made"}
"""
    tiny = ["task=vesicle", "model.widths=[4,8]", "task.crop=32", "trainer.num_workers=0", "data.synthetic.train=2"]
    tiny += ["data.synthetic.val=2", "data.synthetic.size=64", "trainer.epochs=1", "logger=tensorboard"]
    ended = command("train", *tiny, f"output_dir={folder}", before=code)
    assert ended.returncode == 9, ended.stderr
    made = {name: path for name in GROWING for path in folder.glob(name)}
    assert len(made) == {"TensorBoard": 2, "the log": 2, "the first note": 2, "the first scores": 3}[moment]
    files = RunFolder(folder)
    assert files.foreign(files.present()) == []
    files.require(False, overwrite=True)
    (folder / "events.out.tfevents.1").write_text("mine")
    with pytest.raises(InputError, match=r"events\.out\.tfevents\.1 would be overwritten"):
        RunFolder(folder).require(False, overwrite=True)


def test_what_a_kill_left_half_written_stops_no_run(tmp_path):
    for name in (".hydra", "val"):
        (tmp_path / name).mkdir()
    left = [
        atomic.partial(tmp_path / ".hydra" / "hydra.yaml"),
        atomic.partial(tmp_path / "val" / "a.png", ".partial.png"),
    ]
    files = RunFolder(tmp_path)
    assert files.foreign(files.present()) == []
    files.require(False, overwrite=False)
    (tmp_path / ".hydra" / ".mine.partial").write_text("mine")
    assert files.foreign(files.present()) == [".hydra/.mine.partial"]
    assert all(path.exists() for path in left)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_it_survives_runs_that_are_killed(tmp_path, seed):
    """A real run is killed at any moment, begun again over what it left, killed, gone on with, and lives to its end."""
    chance = random.Random(seed)
    folder = tmp_path / "out"
    folder.mkdir()
    for name in chance.sample([name for name in OTHERS if not name.startswith("val/")], 4):  # val/ is a run's
        put(folder, name, "file", f"mine {seed} {name}")
    foreign = contents(folder)
    tiny = ["task=vesicle", "model.widths=[4,8]", "task.crop=32", "trainer.num_workers=0", "data.synthetic.train=4"]
    tiny += ["data.synthetic.val=2", "data.synthetic.size=64", "trainer.epochs=60"]
    begin = ["segexp", "train", *tiny, f"output_dir={folder}"]
    for words in (begin, [*begin, "overwrite=true"]):
        process = start(*words)
        end = time.monotonic() + chance.uniform(0, 8)
        while time.monotonic() < end and process.returncode is None:
            time.sleep(0.05)
        process.process.kill()
        process.ended()
        after = contents(folder)
        assert {name: after.get(name, 0) for name in foreign} == foreign
    ended = start(*begin, "overwrite=true", "trainer.epochs=1").ended()
    assert ended.returncode == 0, ended.stderr
    again = start(*begin).ended()
    assert again.returncode == 1
    assert "overwrite=true" in again.stderr
    after = contents(folder)
    assert {name: after.get(name, 0) for name in foreign} == foreign
    assert (folder / "best_vesicle_model.pth").is_file()
