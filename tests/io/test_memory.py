"""Free memory: of the system, and of a container that may have less."""

import pytest

from segexp.io import memory


@pytest.fixture
def available(monkeypatch):
    """The system's free memory in bytes."""
    fact = memory.psutil.virtual_memory()
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: fact._replace(available=1000))


@pytest.mark.parametrize(
    ("limit", "used", "expected"), [(None, 0, 1000), ("max", 100, 1000), (900, 100, 800), (9000, 100, 1000)]
)
def test_the_smaller_of_the_systems_and_the_containers_counts(tmp_path, monkeypatch, available, limit, used, expected):
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "absent")
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{used}\n")
    assert memory.free_memory() == expected


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/slurm/job\n", {"slurm/job/memory": (700, 100)}, 600),
        ("0::/slurm/job\n", {"slurm/memory": (500, 100), "slurm/job/memory": ("max", 50)}, 400),
        ("0::/slurm/job\n", {"slurm/memory": (900, 300), "slurm/job/memory": (700, 50)}, 600),
        ("0::/not/here\n", {"memory": (700, 100)}, 600),
        ("0::/job\n", {"job/memory": (700, 900)}, 0),
        ("5:cpu,memory:/job\n0::/\n", {"memory/job/memory": (700, 100)}, 600),
        ("5:cpu,memory:/host/job\n0::/\n", {"memory/memory": (700, 100)}, 600),
    ],
)
def test_the_nearest_limit_of_nested_groups_counts(tmp_path, monkeypatch, available, groups, files, expected):
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text(f"3:cpu:/other\n{groups}")
    for place, (limit, used) in files.items():
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        names = (".limit_in_bytes", ".usage_in_bytes") if place.startswith("memory/") else (".max", ".current")
        for name, value in zip(names, (limit, used), strict=True):
            path.with_name(path.name + name).write_text(f"{value}\n")
    assert memory.free_memory() == expected


def test_copies_of_files_in_memory_are_not_counted_as_used(tmp_path, monkeypatch, available):
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "absent")
    (tmp_path / "memory.max").write_text("900")
    (tmp_path / "memory.current").write_text("800")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 450\n")
    assert memory.free_memory() == 550
