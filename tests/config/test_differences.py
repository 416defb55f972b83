"""Settings that differ from the task's defaults."""

from hydra import compose, initialize_config_dir

from segexp.config import conf_dir, read
from segexp.config.differences import differences


def changed(*overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = read(compose("config", ["output_dir=x", *overrides]))
        inside = differences(cfg)  # as within a run
    assert differences(cfg) == inside
    return inside


def test_the_defaults_differ_in_nothing():
    assert changed("task=vesicle") == {}
    assert changed("task=cytoskeleton", "trainer=default") == {}


def test_each_change_with_both_values():
    found = changed("task=vesicle", "trainer.lr=0.1", "data.root=/x", "seed=3", "augment.operations.0.p_flip=0.25")
    assert found["trainer.lr"] == (0.001, 0.1)
    assert found["data.root"] == (None, "/x")
    assert found["seed"] == (0, 3)
    assert found["augment.operations.0.p_flip"] == (0.5, 0.25)
    assert len(found) == 4  # optimizer.lr follows trainer.lr
    found = changed("task=vesicle", "trainer.lr=0.1", "optimizer.lr=0.2")
    assert found == {"trainer.lr": (0.001, 0.1), "optimizer.lr": (0.001, 0.2)}


def test_options_count_by_what_they_change():
    found = changed("task=vesicle", "model=unet", "augment=none")
    assert found["model.widths"] == ([16, 32, 64, 128], [64, 128, 256, 512])
    assert found["augment.operations.0.p_flip"] == (0.5, None)


def test_a_task_of_ones_own_is_compared_with_vesicle():
    assert changed("task=vesicle", "task.name=mine") == {"task.name": ("vesicle", "mine")}
