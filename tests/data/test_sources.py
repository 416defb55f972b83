"""Where a run's images come from: whether they fit in memory."""

from segexp.data import sources
from segexp.data.reading import Reading
from tests.data.test_dataset import dataset


def test_processes_of_one_machine_share_its_memory(tmp_path, monkeypatch):
    folders = dataset(tmp_path)
    reading = Reading()
    index = {"train": sources.find_pairs(*folders)}
    needed = sources.pixel_bytes(index["train"].pairs, reading)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(sources, "free_memory", lambda: 2 * needed)
    assert sources.fits_in_memory(index, reading)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert not sources.fits_in_memory(index, reading)
    monkeypatch.setattr(sources, "free_memory", lambda: 8 * needed)
    assert sources.fits_in_memory(index, reading)
