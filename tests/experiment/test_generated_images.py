"""Runs on generated images that are drawn while they train, alone and beside annotated ones."""

import json

import numpy as np
import pytest

from segexp.errors import InputError
from segexp.experiment.build import build_mix, read_data
from segexp.experiment.run import run
from segexp.training.learner import Learner
from tests.experiment.test_faults import kill_at, same, settings, sitting
from tests.test_train import write_dataset


def annotated(folder):
    def make(rng):
        image = rng.integers(0, 255, (64, 64)).astype(np.uint8)
        return image, image > 128

    return write_dataset(folder, make)


@pytest.mark.parametrize("own", [False, True])
def test_a_killed_run_goes_on_with_the_images_of_one_that_was_not(tmp_path, own):
    extra = [f"data.root={annotated(tmp_path / 'data')}", "data.synthetic.fraction=0.5"] if own else []
    cfg = settings("data.synthetic.online=true", "trainer.epochs=2", "trainer.save_every=00:00:00.01", *extra)
    assert sitting(cfg, tmp_path / "whole") == 0
    assert sitting(cfg, tmp_path / "part", lambda: kill_at(Learner, "step", 4)) == -9
    assert sitting(cfg, tmp_path / "part") == 0
    assert same(tmp_path / "whole", tmp_path / "part")


def test_validation_stays_on_the_annotated_images_and_the_run_says_what_it_mixed(tmp_path, capsys):
    cfg = settings(
        f"data.root={annotated(tmp_path / 'data')}",
        "data.synthetic.fraction=0.25",
        "trainer.epochs=1",
    )
    run(cfg, tmp_path / "run")
    said = capsys.readouterr().out
    assert "generated: 25 % of the crops, from 3 images of 48x48" in said
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["data"]["generated"] == {"share": 0.25, "online": False, "crops": None, "style": None, "ranges": None}
    scores = (tmp_path / "run" / "val" / "scores.csv").read_text()
    assert "generated" not in scores
    assert scores.count("\n") == 3


def images_of(cfg):
    return read_data(cfg.data, cfg.task, cfg.seed, 0, lambda text: None)


def test_fresh_images_are_none_of_the_validation_images():
    cfg = settings("data.synthetic.online=true")
    look, val = images_of(cfg)
    names = {
        f"generated_{build_mix(cfg.data, cfg.task, cfg.seed, 'cpu').images.first + number:05}" for number in range(64)
    }
    assert {sample.name for sample in look} <= names
    assert not {sample.name for sample in val} & names


def test_ranges_reach_the_images(tmp_path):
    (tmp_path / "r.yaml").write_text("task: vesicle\nstyle: field\nranges: {coverage: 0.5, exposure: 0.7}\n")
    _, plain = images_of(settings())
    _, given = images_of(settings(f"data.synthetic.ranges={tmp_path / 'r.yaml'}"))
    assert not np.array_equal(plain[0].pixels, given[0].pixels)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["data.synthetic.fraction=0.5"], "needs images of your own"),
        (["data.root=x", "data.synthetic.online=true"], "set the share of generated"),
        (["data.root=x", "data.synthetic.fraction=1.0"], "from 0 to below 1"),
        (["data.synthetic.crops=0"], "expected 1 to 1000"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(overrides, reason):
    with pytest.raises(InputError, match=reason):
        settings(*overrides)


def test_fresh_images_cannot_be_kept_on_the_device(tmp_path):
    with pytest.raises(InputError, match="newly generated images cannot be cached"):
        run(settings("data.synthetic.online=true", "data.cache=device"), tmp_path / "run")
