"""The stream of batches: the same from memory, from files by any number of workers, and from any place on."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from itertools import islice

import numpy as np
import pytest
import tifffile
import torch

from segexp.data import loader
from segexp.data.dataset import read_folder
from segexp.data.loader import CropBatches, DeviceBatches, Positions, open_feed
from segexp.data.sampler import CropPlan
from segexp.errors import InputError
from tests.data.test_dataset import dataset

CPU = torch.device("cpu")
crop = CropBatches.__getitem__


def test_positions_go_on_from_the_middle_of_an_epoch():
    stream = iter(Positions(3, (1, 2)))
    assert [next(stream) for _ in range(5)] == [(1, 2), (2, 0), (2, 1), (2, 2), (3, 0)]


def sources(folder):
    img, mask = dataset(folder, 4, (40, 50))
    memory = CropPlan(read_folder(img, mask), 16, 4, 0.5, 7)
    disk = CropPlan(read_folder(img, mask, keep=False), 16, 4, 0.5, 7)
    return memory, disk


@pytest.mark.parametrize(("workers", "method"), [(0, None), (1, "spawn"), (2, "fork")])
def test_batches_follow_from_the_seed_whatever_the_workers(tmp_path, workers, method):
    memory, disk = sources(tmp_path)
    loader = open_feed(CropBatches(disk), (1, 1), CPU, workers, method)
    for position in [(1, step) for step in range(1, memory.steps)] + [(2, 0)]:
        batch = next(loader)
        assert batch.pixels.dtype == torch.uint16
        for read, drawn in zip(batch, CropBatches(memory)[position], strict=True):
            assert torch.equal(read.to(torch.float32), drawn.to(torch.float32))
    one, two = (CropBatches(memory)[epoch, 0].pixels.to(torch.int32) for epoch in (1, 2))
    assert not torch.equal(one, two)


def test_the_device_feed_is_the_same_stream(tmp_path):
    memory, _ = sources(tmp_path)
    feeds = [open_feed(source, (0, 3), CPU) for source in (CropBatches(memory), DeviceBatches(memory, CPU))]
    for _ in range(memory.steps):
        one, other = (next(loader).pixels.to(torch.int32) for loader in feeds)
        assert torch.equal(one, other)


def test_a_file_that_vanishes_is_named(tmp_path):
    _, disk = sources(tmp_path)
    victim = next(iter((tmp_path / "img").iterdir()))
    loader = open_feed(CropBatches(disk), (0, 0), CPU, 1, "fork")
    next(loader)
    victim.unlink()
    with pytest.raises(InputError, match=victim.name):
        deque(islice(loader, 200), maxlen=0)


def test_a_worker_that_dies_is_reported_with_its_files(tmp_path, monkeypatch):
    _, disk = sources(tmp_path)

    def dies(array, size):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(loader, "extend", dies)  # the worker is a fork of this process
    with pytest.raises(InputError, match="a worker process that reads images died") as error:
        next(open_feed(CropBatches(disk), (0, 0), CPU, 1, "fork"))
    assert all(name in str(error.value) for name in disk.names((0, 0)))


def test_a_small_shared_memory_is_named_and_the_images_are_read_here(tmp_path, monkeypatch):
    memory, disk = sources(tmp_path)
    one = 4 * 16 * 16 * (2 + 1)
    assert loader.batch_bytes(disk) == one
    usage = shutil._ntuple_diskusage(10 * one, 3 * one, 7 * one)  # 4 batches for each process
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda folder: usage)
    assert loader.shared_memory_too_small(disk, 1) == ""
    lines = []
    batch = next(open_feed(CropBatches(disk), (0, 0), CPU, 2, "fork", lines.append))
    assert torch.equal(batch.pixels.to(torch.int32), CropBatches(memory)[0, 0].pixels.to(torch.int32))
    assert len(lines) == 1
    for words in ("/dev/shm", "too small for 2 worker processes", "--shm-size=2g", "trainer.num_workers=0"):
        assert words in lines[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_changes_while_it_is_read_is_named(tmp_path, workers):
    _, disk = sources(tmp_path)
    victim = next(iter((tmp_path / "img").iterdir()))
    stream = open_feed(CropBatches(disk), (0, 0), CPU, workers, "fork" if workers else None)
    next(stream)
    changed = {".npy": np.save, ".tif": tifffile.imwrite}[victim.suffix]
    changed(tmp_path / f"new{victim.suffix}", np.zeros((44, 50), np.uint16))
    (tmp_path / f"new{victim.suffix}").replace(victim)  # no reader meets half a file
    with pytest.raises(InputError) as error:
        deque(islice(stream, 200), maxlen=0)
    assert str(error.value).startswith(f"{victim}: changed while it was in use: (40, 50) uint16 at first, (44, 50)")
    assert "Traceback" not in str(error.value)


def test_signals_for_every_process_of_a_run_leave_the_reading_going(tmp_path):
    """SLURM, `timeout` and Ctrl-C send theirs to reading processes, too; the main process has its state to save."""
    _, disk = sources(tmp_path)
    before = multiprocessing.active_children()
    stream = open_feed(CropBatches(disk), (0, 0), CPU, 1, "fork")
    next(stream)
    (worker,) = (child for child in multiprocessing.active_children() if child not in before)
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM):
        os.kill(worker.pid, number)
        deque(islice(stream, 2 * loader.PREFETCH), maxlen=0)
    assert worker.is_alive()


def test_a_process_that_hangs_ends_with_the_stream(tmp_path, monkeypatch):
    _, disk = sources(tmp_path)
    before = multiprocessing.active_children()
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.5)
    source = CropBatches(disk)
    monkeypatch.setattr(CropBatches, "__getitem__", lambda self, at: crop(self, at) if at == (0, 0) else time.sleep(60))
    stream = open_feed(source, (0, 0), CPU, 1, "fork")
    next(stream)
    (worker,) = (child for child in multiprocessing.active_children() if child not in before)
    stream.close()
    worker.join(5)
    assert worker.exitcode == 0


def test_a_command_ends_while_a_stream_is_open(tmp_path):
    """An uncaught error keeps the stream alive until Python has sent SIGTERM to every process and waits for it."""
    img, mask = dataset(tmp_path, 4, (40, 50))
    code = f"""
import torch
from pathlib import Path
from segexp.data.dataset import read_folder
from segexp.data.loader import CropBatches, CropPlan, open_feed
plan = CropPlan(read_folder(Path({str(img)!r}), Path({str(mask)!r}), keep=False), 16, 4, 0.5, 7)
stream = open_feed(CropBatches(plan), (0, 0), torch.device("cpu"), 1, "fork")
next(stream)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_too_few_open_files_are_one_message(tmp_path, monkeypatch):
    _, disk = sources(tmp_path)

    def fails(self):
        raise RuntimeError("Too many open files. Communication with the workers is no longer possible.")

    monkeypatch.setattr(loader.DataLoader, "__iter__", lambda self: type("Feed", (), {"__next__": fails})())
    with pytest.raises(InputError, match="1 worker processes that read images need more open files"):
        next(open_feed(CropBatches(disk), (0, 0), CPU, 1, "fork"))
