"""Processors that a process may use, as a container or a batch job limits them."""

import pytest
import torch

from segexp.io import cores, memory


@pytest.fixture
def processors(tmp_path, monkeypatch):
    """A machine with 16 processors whose control groups are described in a folder."""
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda process: range(16), raising=False)
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "cgroup")
    return tmp_path


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("", {}, 16),
        ("", {"cpu.max": "max 100000"}, 16),
        ("", {"cpu.max": "200000 100000"}, 2),  # docker run --cpus=2
        ("", {"cpu.max": "150000 100000"}, 2),
        ("", {"cpu.max": "20000 100000"}, 1),
        ("", {"cpu.max": "9900000 100000"}, 16),
        ("", {"cpu.max": "nonsense"}, 16),
        ("0::/slurm/job\n", {"slurm/cpu.max": "400000 100000", "slurm/job/cpu.max": "800000 100000"}, 4),
        ("4:cpu,cpuacct:/job\n", {"cpu/job/cpu.cfs_quota_us": "300000", "cpu/job/cpu.cfs_period_us": "100000"}, 3),
        ("4:cpu,cpuacct:/job\n", {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000"}, 16),
    ],
)
def test_the_nearest_quota_counts(processors, groups, files, expected):
    (processors / "cgroup").write_text(groups)
    for name, text in files.items():
        (processors / name).parent.mkdir(parents=True, exist_ok=True)
        (processors / name).write_text(f"{text}\n")
    assert cores.cores() == expected


@pytest.mark.parametrize(("given", "expected"), [(None, 2), ("12", 12)])
def test_pytorch_starts_no_more_threads_than_that_unless_it_is_told(processors, monkeypatch, given, expected):
    (processors / "cpu.max").write_text("200000 100000\n")
    threads = [12]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    cores.limit_threads()
    assert threads[-1] == expected
