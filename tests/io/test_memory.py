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
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{used}\n")
    assert memory.free_memory() == expected
