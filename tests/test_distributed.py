"""Two processes that share every batch train what one process trains."""

import pytest
import torch

from segexp import distributed
from segexp.distributed import ALONE, CONTROL_WAIT, STEP_WAIT, agree, gather, join, share, total
from tests.processes import command

TINY = [
    "task=cytoskeleton",
    "data.synthetic.train=3",
    "data.synthetic.val=3",
    "data.synthetic.size=48",
    "model.widths=[4,8]",
    "model.norm=group",
    "task.crop=32",
    "trainer.batch_size=4",
    "trainer.epochs=3",
    "trainer.precision=fp32",
    "trainer.ema=0.9",
]


@pytest.mark.slow
def test_two_processes_end_with_the_weights_and_scores_of_one(tmp_path):
    states = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        words = ["train", *TINY, f"trainer.devices={devices}", f"output_dir={folder}"]
        result = command(*words, cwd=tmp_path)
        assert result.returncode == 0, result.stdout + result.stderr
        assert ("processes: 2" in result.stdout) == (devices == 2)
        states.append(torch.load(folder / "last.pth", weights_only=True))
    one, two = states
    for part in ("weights", "average"):
        for name, value in one["learner"][part].items():
            torch.testing.assert_close(two["learner"][part][name], value, atol=1e-5, rtol=1e-4)
    # three images over two processes: shares of two and one
    for name, value in one["state"]["best"].items():
        assert two["state"]["best"][name] == pytest.approx(value, abs=1e-4)
    before = (folder / "run.json").read_bytes()
    refused = command(*words, cwd=tmp_path)  # a finished run
    assert refused.returncode == 1
    assert refused.stderr.count("error: ") == 1, refused.stderr
    assert "overwrite=true" in refused.stderr
    assert "Connection closed" not in refused.stderr, "the second process ends with the first"
    assert (folder / "run.json").read_bytes() == before


def test_one_process_agrees_with_itself():
    assert share(ALONE, "a") == "a"
    assert agree(ALONE, 1.5, 0) == [1.5, 0]
    assert gather(ALONE, [1, 2, 3]) == [1, 2, 3]
    sums = torch.tensor([1.0, 2.0])
    assert total(ALONE, sums) is sums


def test_processes_wait_longer_for_numbers_than_for_tensors(monkeypatch):
    """Process 0 scores the best model alone, meanwhile the others wait for its number."""
    waits = {}

    class Group:
        init_process_group = staticmethod(lambda backend, timeout, **_: waits.update(tensors=timeout))
        new_group = staticmethod(lambda backend, timeout: waits.update({backend: timeout}))
        get_rank = staticmethod(lambda: 1)
        get_world_size = staticmethod(lambda: 2)

    monkeypatch.setattr(distributed, "_ranks", None)
    monkeypatch.setattr(distributed, "dist", Group)
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert join()[:2] == (1, 2)
    assert waits == {"tensors": STEP_WAIT, "gloo": CONTROL_WAIT}
    assert CONTROL_WAIT.days >= 1 > STEP_WAIT.days
