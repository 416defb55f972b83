"""debug=default and debug=profile in whole runs."""

import csv

from segexp.experiment.run import run
from tests.test_conf import config

TINY = [
    "model.widths=[4,8]",
    "task.crop=32",
    "data.synthetic.train=4",
    "data.synthetic.val=2",
    "data.synthetic.size=64",
]


def test_one_batch_is_overfitted_by_default(tmp_path, capsys):
    cfg = config("task=vesicle", *TINY, "debug=default", "logger=none", "trainer.steps=24", "trainer.batch_size=2")
    assert (cfg.trainer.precision, cfg.trainer.num_workers, cfg.debug.anomaly) == ("fp32", 0, True)
    run(cfg, tmp_path / "run")
    assert "debug: training on a single batch without augmentation" in capsys.readouterr().out
    with (tmp_path / "run" / "metrics.csv").open() as file:
        losses = [float(row["train_loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.85 * losses[0]
    assert (tmp_path / "run" / "last.pth").is_file()
    assert not list((tmp_path / "run").glob("events.*"))


def test_a_profile_prints_where_a_step_goes(tmp_path, capsys):
    run(config("task=vesicle", *TINY, "debug=profile", "debug.profile=3", "trainer.steps=8"), tmp_path / "run")
    text = capsys.readouterr().out
    assert "the mean of 3:" in text
    assert "backward and clipping" in text
