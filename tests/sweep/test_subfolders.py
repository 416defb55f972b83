"""Folders of jobs, before any job begins."""

import sys

import pytest

from segexp.errors import InputError
from segexp.sweep import subfolders
from segexp.sweep.subfolders import require_different
from segexp.train import main

BY_SETTINGS = "hydra.sweep.subdir=${hydra.job.override_dirname}"
WITHOUT_SEED = "hydra.job.config.override_dirname.exclude_keys=[seed,output_dir]"


def test_jobs_that_differ_have_folders_that_differ():
    jobs = [["seed=0"], ["seed=1"]]
    require_different("${hydra.job.override_dirname}", ["seed=0", "seed=1"], jobs)
    require_different("x/${seed}", ["x/0", "x/1"], jobs)
    with pytest.raises(
        InputError, match=r"hydra\.sweep\.subdir: .* job 0 and job 1 \(seed=1\) would share the folder a/"
    ):
        require_different("a/b", ["a/b", "a/./b"], jobs)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hydra.sweep.subdir=same", "seed=0,1"], "error: hydra.sweep.subdir: with hydra.sweep.subdir=same job 0 and"),
        ([BY_SETTINGS, WITHOUT_SEED, "seed=0,1"], "error: hydra.job.config.override_dirname.exclude_keys: with"),
        ([BY_SETTINGS, "seed=0,0"], "job 0 and job 1 (the same settings) would share"),
        ([BY_SETTINGS, f"data.root={'x' * 250}", "seed=0,1"], "is longer than the 255 bytes that a folder's name may"),
        ([f"{BY_SETTINGS}_${{hydra.job.num}}", f"data.root={'x' * 250}"], "is longer than the 255 bytes"),
        (["hydra.sweep.subdir=same", "hydra/sweeper=optuna", "trainer.lr=interval(0.1,1)"], "jobs of the search would"),
        ([BY_SETTINGS, WITHOUT_SEED, "hydra/sweeper=optuna", "seed=range(9)"], "jobs of the search would share"),
    ],
)
def test_a_sweep_whose_jobs_would_share_a_folder_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, words, said
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit) as end:
        main(["-m", "task=vesicle", "output_dir=s", *words])
    assert said in str(end.value)
    assert list(tmp_path.iterdir()) == []


def test_of_numbered_jobs_only_the_one_with_the_longest_name_is_composed(tmp_path, monkeypatch):
    composed = []
    compose = subfolders.compose_job
    monkeypatch.setattr(subfolders, "compose_job", lambda *a: composed.append(a[-1]) or compose(*a))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    excluded = "hydra.job.config.override_dirname.exclude_keys=[data.unlabelled,output_dir]"
    words = [f"{BY_SETTINGS}_${{hydra.job.num}}", excluded, f"data.unlabelled={'y' * 300},null"]
    with pytest.raises(SystemExit, match="is longer than the 255 bytes"):
        main(["-m", "task=vesicle", "output_dir=s", *words, f"data.root=a,{'x' * 250},b"])
    assert composed == [1]
