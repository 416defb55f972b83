"""Every option file composes, and every kind of wrong setting gets one clear message."""

import dataclasses

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import MISSING, OmegaConf

from segexp.augment import Augmentation
from segexp.config import build, conf_dir, load_augment, read
from segexp.config.fingerprint import settings_of
from segexp.config.folders import DataConfig, SyntheticConfig
from segexp.config.schema import MeasureConfig, TaskConfig, TrainerConfig
from segexp.config.typed import as_typed
from segexp.errors import InputError
from segexp.experiment.build import build_model
from segexp.models import MODELS

CONF = conf_dir()
OTHERS = ("monai", "smp", "timm_unet")  # networks of packages that need not be installed


def options(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if (group, path.stem) != ("task", "base"))


def config(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return read(compose("config", ["output_dir=x", *overrides]))


@pytest.mark.parametrize("task", options("task"))
@pytest.mark.parametrize("group", ["model", "augment", "loss", "optimizer", "scheduler", "trainer", "data"])
def test_every_option_composes_and_builds(task, group):
    for option in options(group):
        if option in OTHERS:  # tests/models/test_external.py
            continue
        run = config(f"task={task}", f"{group}={option}")
        assert isinstance(build(run.augment), Augmentation)
        assert type(build_model(run.model | {"widths": [4, 8]}, 1, 1, [0.1])).__name__ in MODELS


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_composes_and_says_its_command_time_and_score(experiment):
    started = ["task=vesicle", "model.weights=vesicle"]
    needed = {"finetune": started, "adapt": [*started, "data.unlabelled=IMAGES"]}
    assert config(f"experiment={experiment}", *needed.get(experiment, [])).task.name
    header = (CONF / "experiment" / f"{experiment}.yaml").read_text().split("\n\n")[0]
    for word in (f"experiment={experiment}", "min", "Dice"):
        assert word in header


def test_a_task_states_only_what_differs_from_the_others():
    """A value of `task/base.yaml` stands there alone."""
    shared = yaml.safe_load((CONF / "task" / "base.yaml").read_text())
    for task in options("task"):
        own = yaml.safe_load((CONF / "task" / f"{task}.yaml").read_text())
        assert own.pop("defaults")[0] == "base"
        assert not [key for key, value in own.items() if shared[key] == value]
        assert not set(own) - set(shared)
    with pytest.raises(InputError, match="task=base: holds only what all tasks share"):
        as_typed(["task=base"])


def test_a_default_stands_in_the_yaml_alone():
    for schema in (TaskConfig, MeasureConfig, TrainerConfig, DataConfig, SyntheticConfig):
        values = [field.default for field in dataclasses.fields(schema)]
        assert set(values) <= {MISSING, dataclasses.MISSING}, schema


def test_augment_follows_the_task_unless_chosen():
    for task in options("task"):
        chosen = config(f"task={task}").augment
        assert chosen == config(f"task={task}", f"augment={task}").augment
        assert chosen != config(f"task={task}", "augment=none").augment


def test_defaults_are_the_older_scripts():
    trainer = config("task=vesicle").trainer
    assert (trainer.epochs, trainer.batch_size, trainer.lr, trainer.num_workers) == (50, 4, 0.001, 4)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["trainer.lr=fast"], ["trainer.lr=fast", "a number"]),
        (["trainer.lr=null"], ["trainer.lr=null", "a number"]),
        (["trainer.epochs=2.5"], ["trainer.epochs=2.5", "a whole number or null"]),
        (["trainer.batch_size=0"], ["trainer.batch_size=0", "1 or more"]),
        (["trainer.lr=-1", "task.crop=1", "seed=-1"], ["trainer.lr=-1", "task.crop=1"]),
        (["+trainer.epoch=3"], ["trainer.epoch:", "did you mean trainer.epochs?"]),
        (["+task.loss.dice=3"], ["task.loss.dice: is called loss.dice.weight now"]),
        (["+sede=3"], ["sede:", "did you mean seed?"]),
        (["trainer.lr=???", "task.crop=???"], ["missing: task.crop, trainer.lr"]),
        (["data.train_img_dir=a"], ["missing: data.train_mask_dir, data.val_img_dir, data.val_mask_dir"]),
        (["trainer.max_time=soon"], ["trainer.max_time=soon", "hours:minutes:seconds"]),
        (["trainer.epochs=null"], ["no limit"]),
        (["trainer.validate_every=0"], ["validate_every"]),
        (["task.normalization=minmax"], ["standard, log"]),
        (["task.classes=[]"], ["task.classes"]),
        (["task.name=../x"], ["task.name"]),
        (["+loss.dice.smoth=3"], ["loss.dice.smoth: SoftDice takes smooth; did you mean smooth?"]),
        (["loss.dice.weight=-1"], ["loss.dice.weight=-1", "0 or more"]),
        (["loss.dice.weight=0", "loss.ce.weight=0"], ["loss: the weight of every term is 0"]),
        (["+loss.mine=3"], ["loss.mine: expected a term"]),
        (["loss.dice._target_=torch.optim.SGD"], ["loss.dice", "derived from torch.nn"]),
        (["optimizer._target_=torch.nn.Linear"], ["optimizer", "derived from torch.optim"]),
        (["+optimizer.beta=0.9"], ["optimizer.beta: Muon takes"]),
        (["scheduler._target_=segexp.training.schedule.Scheduler"], ["scheduler", "derived from"]),
        (["scheduler._target_=os.system"], ["scheduler", "os.system", "allow_targets"]),
        (["scheduler.warmup=${trainer.warm}"], ["scheduler", "trainer.warm"]),
        (["data.channels=0"], ["data.channels=0", "1 (grey) or 3"]),
        (["model._target_=os.system"], ["os.system", "allow_targets"]),
        (["+model.width=3"], ["model.width", "widths"]),
        (["model.weights=3"], ["model.weights=3", "a model file, a run, a sweep"]),
        (["experiment=finetune"], ["missing: model.weights"]),
        (["trainer.freeze=3"], ["trainer.freeze=3", "a list"]),
        (["trainer.freeze=stem"], ["trainer.freeze=stem", "a list"]),  # not s, t, e and m
        (["task.classes=fiber"], ["task.classes=fiber", "a list"]),
        (["allow_targets=mylab"], ["allow_targets=mylab", "a list"]),
        (["seed=${oc.env:NOT_SET}", "data.root=${oc.env:NOT_SET}"], ["seed: ", "data.root: ", "'NOT_SET' not found"]),
        (["task.threshold=high"], ["task.threshold=high", "or auto"]),
        (["task.threshold=1"], ["task.threshold=1"]),
        (["task.min_size=-3"], ["task.min_size=-3", "or auto"]),
        (["task.scores=[dise]"], ["task.scores=['dise']", "probability, filament"]),
        (["task.tolerance=-1"], ["task.tolerance=-1"]),
        (["trainer.seeds=0"], ["trainer.seeds=0", "1 to 1000"]),
        (["trainer.devices=many"], ["trainer.devices=many", "or auto"]),
        (["trainer.compile=yes"], ["none, default, reduce-overhead"]),
        (["trainer.start_method=thread"], ["null, fork, spawn"]),
        (["trainer.ema=1"], ["trainer.ema=1"]),
        (["trainer.save_every=often"], ["trainer.save_every=often", "hours:minutes:seconds"]),
        (["trainer.precision=fp8"], ["auto, bf16, fp16, tf32, fp32"]),
    ],
)
def test_wrong_settings(overrides, words):
    with pytest.raises(InputError) as error:
        config("task=vesicle", *overrides)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "without"),
    [
        (["trainer.warmup=0.1", "trainer=quick"], ["trainer.warmup"]),
        (["trainer.warmup=0.1"], []),
        (["data.root=d", "data.synthetic.style=electron", "data.synthetic.train=9"], ["style", "data.synthetic.train"]),
        (["data.root=d", "data.synthetic.style=electron", "data.synthetic.fraction=0.5"], []),
        (["data.root=d", "data.split_seed=3"], ["data.split_seed"]),
        (["data.root=d", "data.split_seed=3", "data.fold=1/3"], []),
        (["data.val_fraction=0.2", "data.channel=2"], ["data.val_fraction", "data.channel"]),
        (["data.unlabelled=d", "model.weights=vesicle", "data.channel=2"], []),
        (["data.synthetic.crops=2", "trainer.scratch=0.3"], ["data.synthetic.crops", "trainer.scratch"]),
        (["data.synthetic.crops=2", "data.synthetic.online=true", "data.synthetic.train=9"], ["data.synthetic.train"]),
        (["model.weights=vesicle", "data.root=d", "experiment=finetune", "trainer.scratch=0.3"], []),
        (["data.split_seed=null", "trainer.cross_fit=0", "data.synthetic.online=false"], []),
    ],
)
def test_settings_without_effect_are_named(overrides, without):
    lines = config("task=vesicle", *overrides).without_effect(settings_of(overrides))
    assert len(lines) == len(without)
    for line, name in zip(lines, without, strict=True):
        assert name in line.partition("=")[0]
        assert "has no effect" in line


@pytest.mark.parametrize(
    ("text", "seconds"), [("00:05:00", 300), ("5:00", 300), ("1:00:00", 3600), ("0:01.5", 1.5), ("100:00:00", 360000)]
)
def test_max_time(text, seconds):
    assert config("task=vesicle", f"trainer.max_time={text}").trainer.seconds() == seconds


def test_folders():
    given = config("task=vesicle", "data.root=a", "data.val_img_dir=b").data.folders()
    assert {name: str(path) for name, path in given.items()} == {
        "train_img_dir": "a/train/img",
        "train_mask_dir": "a/train/mask",
        "val_img_dir": "b",
        "val_mask_dir": "a/val/mask",
    }
    assert config("task=vesicle").data.folders() is None


def test_home_is_expanded_unless_such_a_folder_exists(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    data = config("task=vesicle", "data.root='~/cells'").data
    with pytest.raises(InputError, match=f"data.root={tmp_path}/cells: no such folder"):
        data.folders()
    (tmp_path / "cells").mkdir()
    assert data.folders()["train_img_dir"] == tmp_path / "cells" / "train" / "img"
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "cells").mkdir()
    assert str(data.folders()["train_img_dir"]) == "~/cells/train/img"


def test_zoom_differs_from_the_filaments_recipe_in_scale_alone():
    usual, zoom = (OmegaConf.load(f"{CONF}/augment/{name}.yaml") for name in ("cytoskeleton", "cytoskeleton_zoom"))
    (warp, *_), (zoomed, *_) = usual.operations, zoom.operations
    assert (zoomed.p_affine, list(zoomed.scale)) == (0.7, [0.7, 2.6])
    zoomed.p_affine, zoomed.scale = warp.p_affine, warp.scale
    assert zoom == usual


def test_load_augment_by_name_and_by_file(tmp_path):
    assert type(load_augment("none")).__name__ == "Augmentation"
    path = tmp_path / "mine.yaml"
    path.write_text("_target_: segexp.augment.Augmentation\noperations: []\n")
    load_augment(path)
    with pytest.raises(InputError, match="cytoskeleton, cytoskeleton_kornia, cytoskeleton_zoom, none, vesicle"):
        load_augment("vesicel")
    path.write_text("_target_: os.system\n")
    with pytest.raises(InputError, match=r"os\.system"):
        load_augment(path)
