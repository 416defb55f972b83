"""Where a job belongs, and whether it is passed by, gone on with or begun."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from segexp.config import conf_dir
from segexp.experiment import provenance
from segexp.io.ownership import OwnedFolder
from segexp.sweep.entry import enter
from segexp.sweep.identity import identify
from segexp.sweep.job_store import DONE, FAILED, GIVEN_UP, INTERRUPTED, RUNNING, WAITING, Identity, read_job
from segexp.sweep.launch import check_settings, environments, visible_gpus
from segexp.sweep.selection import best_setting
from tests.test_scripts import write_dataset


def config(*overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", ["task=vesicle", "output_dir=o", *overrides])


def hydra(number=0, sweeper="x", launcher="x", typed=("task=vesicle", "sweep.retry=true")):
    return SimpleNamespace(
        launcher={"_target_": launcher},
        job=SimpleNamespace(num=number),
        overrides=SimpleNamespace(task=OmegaConf.create(list(typed))),
        mode="MULTIRUN",
        sweeper={"_target_": sweeper},
    )


def entered(tmp_path, *overrides, status=None, state=True, model="weights", summary='{"best": {}}'):
    """What becomes of job 0, which an earlier sitting left in this status."""
    record = enter(config(), hydra(), tmp_path, tmp_path / "0").record
    record.folder.mkdir()
    if status is not None:
        record.save(status=status)
    if state:
        (record.folder / "last.pth").touch()
    if status == DONE:
        for name, text in (("best_vesicle_model.pth", model), ("summary.json", summary)):
            if text is not None:
                (record.folder / name).write_text(text)
    return enter(config(*overrides), hydra(), tmp_path, tmp_path / "0")


@pytest.mark.parametrize(
    ("status", "retry", "runs", "resumes"),
    [
        (DONE, "false", False, False),
        (GIVEN_UP, "false", False, False),
        (FAILED, "false", False, False),
        (FAILED, "true", True, True),
        (INTERRUPTED, "false", True, True),
        (RUNNING, "false", True, True),  # killed
        (DONE, "true", False, False),
    ],
)
def test_a_sweep_that_goes_on(tmp_path, status, retry, runs, resumes):
    found = entered(tmp_path, "sweep.resume=s", f"sweep.retry={retry}", status=status)
    assert (found.runs, found.resumes, found.record.folder.name) == (runs, resumes, "0")


@pytest.mark.parametrize(("model", "summary"), [(None, '{"best": {}}'), ("", '{"best": {}}'), ("w", ""), ("w", "{}")])
def test_a_job_that_is_done_without_its_results_is_run_again(tmp_path, model, summary):
    found = entered(tmp_path, "sweep.resume=s", status=DONE, model=model, summary=summary)
    assert (found.runs, found.resumes) == (True, False)


def test_a_job_that_is_done_with_another_model_in_its_place_is_run_again(tmp_path):
    found = entered(tmp_path, "sweep.resume=s", status=DONE)
    files = OwnedFolder(found.record.folder)
    for name in ("best_vesicle_model.pth", "summary.json"):
        files.note(name)
    assert not enter(config("sweep.resume=s"), hydra(), tmp_path, tmp_path / "0").runs
    (found.record.folder / "best_vesicle_model.pth").write_text("copied here")
    assert enter(config("sweep.resume=s"), hydra(), tmp_path, tmp_path / "0").runs


def test_a_job_without_a_state_is_begun(tmp_path):
    found = entered(tmp_path, "sweep.resume=s", status=RUNNING, state=False)
    assert (found.runs, found.resumes) == (True, False)


def test_a_sweep_that_begins_anew_runs_everything_in_its_own_folders(tmp_path):
    found = entered(tmp_path, status=DONE)
    assert (found.runs, found.resumes) == (True, False)


def test_another_job_is_put_beside_it(tmp_path):
    found = entered(tmp_path, "sweep.resume=s", "trainer.lr=0.5", status=DONE)
    assert (found.runs, found.resumes, found.record.folder.name, found.record.number) == (True, False, "1", 1)
    assert found.record.overrides == ["task=vesicle"]


@pytest.mark.parametrize("cluster", [True, False])
def test_a_job_that_its_cluster_starts_again_goes_on_in_newer_code(tmp_path, monkeypatch, cluster):
    if cluster:
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    entered(tmp_path, status=RUNNING)
    monkeypatch.setattr(provenance, "code_version", lambda: "newer")
    found = enter(config(), hydra(), tmp_path, tmp_path / "0")
    assert (found.runs, found.resumes) == (True, cluster)
    assert found.record.identity.code == "newer"
    resumed = enter(config("sweep.resume=s"), hydra(), tmp_path, tmp_path / "0")
    assert (resumed.resumes, resumed.record.folder.name) == (False, "1")
    assert resumed.words == f"{tmp_path / '0'} was made with other code"


def test_ray_starts_lost_jobs_again_and_they_go_on(tmp_path):
    record = enter(config(), hydra(), tmp_path, tmp_path / "0").record
    record.folder.mkdir()
    (record.folder / "last.pth").touch()
    record.save(status=RUNNING)
    ray = hydra(launcher="hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher")
    found = enter(config(), ray, tmp_path, tmp_path / "0")
    assert (found.runs, found.resumes, found.record.folder.name) == (True, True, "0")
    assert not enter(config(), hydra(), tmp_path, tmp_path / "0").resumes


def test_identity(tmp_path):
    data = write_dataset(tmp_path / "data")
    one = identify(config(f"data.root={data}"))
    assert one == identify(config(f"data.root={data}", "output_dir=elsewhere", "sweep.resume=s", "trainer.lr=1e-3"))
    assert one.differs(identify(config(f"data.root={data}", "trainer.lr=2e-3"))) == "settings"
    (data / "val" / "mask" / "2.npy").write_bytes(b"")
    assert one.differs(identify(config(f"data.root={data}"))) == "data"
    assert identify(config()).data == "generated"
    assert identify(config("trainer.lr=fast")).data == "unreadable"
    assert isinstance(one, Identity)


@pytest.mark.parametrize("setting", ["data.split", "data.synthetic.ranges"])
def test_the_content_of_a_file_that_a_setting_names_is_data(tmp_path, setting):
    named = tmp_path / "named"
    named.write_text("one")
    first = identify(config(f"{setting}={named}"))
    assert first == identify(config(f"{setting}={named}"))
    named.write_text("two")
    assert first.differs(identify(config(f"{setting}={named}"))) == "data"
    named.unlink()
    assert identify(config(f"{setting}={named}")).data == "unreadable"


def resumed(sweep, number, *words):
    return enter(config(*words, "sweep.resume=s"), hydra(number, typed=words), sweep, sweep / str(number))


def test_an_axis_added_at_its_default_joins_the_jobs_that_are_done(tmp_path):
    entered(tmp_path, status=DONE)
    read_job(tmp_path / "0").save(score=0.9)
    known = resumed(tmp_path, 0, "task=vesicle", "trainer.batch_size=4", "seed=0")
    assert not known.runs
    for number, size, seed, score in [(1, 4, 1, 0.5), (2, 8, 0, 0.8), (3, 8, 1, 0.8)]:
        words = ["task=vesicle", f"trainer.batch_size={size}", f"seed={seed}"]
        record = resumed(tmp_path, number, *words).record
        assert record.folder.name == str(number)
        record.save(status=DONE, score=score)
    best, jobs, count = best_setting(tmp_path)
    assert (best.name, best.units, count) == ("trainer.batch_size=8", "2 seeds", 2)  # 0.9 alone is not a setting
    assert [job.number for job in jobs] == [2, 3]


def test_the_record_of_a_job_that_is_done_stays_as_it_is_where_its_settings_read_the_same(tmp_path):
    entered(tmp_path, status=DONE)
    before = (tmp_path / "0" / "job.json").read_bytes()
    resumed(tmp_path, 0, "task=vesicle", "output_dir=elsewhere")
    assert (tmp_path / "0" / "job.json").read_bytes() == before


def test_a_job_that_waits_with_the_state_of_other_data_is_begun_elsewhere(tmp_path):
    entered(tmp_path, status=WAITING)
    record = read_job(tmp_path / "0")
    record.identity = replace(record.identity, data="other")
    record.save()
    found = resumed(tmp_path, 0, "task=vesicle")
    assert (found.resumes, found.record.folder.name) == (False, "1")
    assert found.words == f"{tmp_path / '0'} was made with other data"
    (tmp_path / "0" / "last.pth").unlink()  # then there is nothing to go on from
    found = resumed(tmp_path, 0, "task=vesicle")
    assert (found.resumes, found.record.folder.name) == (False, "0")


def test_settings_of_the_launcher(monkeypatch):
    for wrong in [
        (0, None),
        ("two", None),
        (True, None),
        (2, 0),
        (2, "many"),
        (1, 1, 1),
        (1, 1, "0,1"),
        (1, 1, ["0,1"]),
    ]:
        with pytest.raises(SystemExit, match=r"error: hydra\.launcher\."):
            check_settings(*wrong)
    check_settings(2, 1)
    check_settings(2, 1, OmegaConf.create([0, "GPU-8f2c"]))
    with pytest.raises(SystemExit, match=r"gpus=0,1: expected a list of numbers or names, such as \[0,1\], or null"):
        check_settings(2, 1, "0,1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert visible_gpus() == ["3", "5"]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in environments(2, 1, None)] == ["3", "5"]
    assert "CUDA_VISIBLE_DEVICES" not in environments(1, 1, None)[0]
    assert environments(1, 1, [7])[0]["CUDA_VISIBLE_DEVICES"] == "7"
