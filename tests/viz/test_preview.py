"""The picture of the augmentation: one panel a sample and operation, each showing what its operation does."""

import numpy as np
import pytest

from segexp.augment import Augmentation, RandomExtremeScale, RandomFlip, RandomWarp
from segexp.data.loader import CropBatches
from segexp.data.sampler import CropPlan
from segexp.viz.preview import preview
from tests.test_cli import run
from tests.training.test_loop import blobs


def test_a_row_a_sample_and_a_column_an_operation():
    batch = CropBatches(CropPlan(blobs(), 32, 3, 0.5, 0))[0, 0]
    augment = Augmentation([RandomFlip(), RandomExtremeScale(p=0.001)])
    picture = preview(augment, batch, "log", side=64)
    assert picture.shape == (22 + 3 * 68, 4 * 68, 3)
    assert picture.dtype == np.uint8
    panels = [picture[22:86, 68 * i : 68 * i + 64] for i in range(4)]
    # always applied in its own column, though hardly ever in training; a probability of 0 stays
    assert not np.array_equal(panels[0], panels[2])
    never = preview(Augmentation([RandomExtremeScale(p=0.0)]), batch, "log", side=64)
    np.testing.assert_array_equal(never[22:, :64], never[22:, 68:132])
    np.testing.assert_array_equal(preview(augment, batch, "log", side=64), picture)


def test_each_probability_that_an_operation_names_is_1_in_its_own_column():
    batch = CropBatches(CropPlan(blobs(), 32, 3, 0.5, 0))[0, 0]
    still = {"p_flip": 0.0, "p_turn": 0.0}
    for part, other in (("p_affine", "p_elastic"), ("p_elastic", "p_affine")):
        picture = preview(Augmentation([RandomWarp(**still, **{part: 0.001, other: 0.0})]), batch, "log", side=64)
        assert not np.array_equal(picture[22:86, :64], picture[22:86, 68:132])
        assert np.array_equal(picture[22:86, :64], picture[22:86, 136:200])


def test_the_command_writes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny = ("data.synthetic.train=2", "data.synthetic.val=1", "data.synthetic.size=48")
    assert run(monkeypatch, "preview", "task=vesicle", *tiny, "--output", "p.png", "--samples", 2) == 0
    assert (tmp_path / "p.png").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".segexp.jsonl", "p.png"]


@pytest.mark.parametrize("overrides", [["task=vesicel"], ["task=vesicle", "trainer.epoch=3"], ["trainer.lr=1"]])
def test_mistakes_are_one_message(tmp_path, monkeypatch, overrides):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "preview", *overrides).startswith("error: ")
