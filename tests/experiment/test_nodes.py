"""Loss, optimiser and schedule as the settings name them: each option works, and what cannot work is said at once."""

import textwrap

import pytest
import torch
from hydra import compose, initialize_config_dir

from segexp.config import conf_dir, read
from segexp.errors import InputError
from segexp.experiment import nodes
from segexp.experiment.nodes import check_nodes

CONF = conf_dir()


def options(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def config(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return read(compose("config", ["output_dir=x", "task=vesicle", *overrides]))


def build_loss(cfg):
    return nodes.build_loss(cfg.loss, 1)


def build_optimizer(cfg, parameters):
    return nodes.build_optimizer(cfg.optimizer, parameters)


def build_scheduler(cfg, lr):
    return nodes.build_scheduler(cfg.scheduler, lr, tuple(cfg.allow_targets))


@pytest.mark.parametrize("group", ["loss", "optimizer", "scheduler", "logger", "callbacks", "debug"])
def test_every_option_can_be_trained_with(group):
    for option in options(group):
        check_nodes(config(f"{group}={option}", "trainer.epochs=null", "trainer.steps=2000"))


def test_the_tasks_bring_their_loss():
    assert build_loss(config()).weights == {"ce": 1.0, "dice": 1.0}
    assert build_loss(config("task=cytoskeleton")).weights == {"ce": 1.0, "dice": 1.0, "skeleton": 0.5}
    assert build_loss(config("task=cytoskeleton", "loss=filament")).weights == {"ce": 1.0, "dice": 1.0, "cldice": 0.2}
    assert build_loss(config("task=cytoskeleton", "loss=[tversky,focal]")).weights == {"tversky": 1.0, "focal": 1.0}
    assert build_loss(config("loss.dice.weight=0")).weights == {"ce": 1.0}


def test_the_rate_and_decay_are_the_trainers():
    weight = torch.nn.Parameter(torch.ones(2, 2))
    values = ["trainer.lr=0.03", "trainer.weight_decay=0.2"]
    group = build_optimizer(config(*values), [weight]).param_groups[0]
    assert (group["lr"], group["weight_decay"], group["momentum"]) == (0.03, 0.2, 0.95)
    group = build_optimizer(config("optimizer=adamw", *values), [weight]).param_groups[0]
    assert (group["lr"], group["weight_decay"], group["fused"]) == (0.03, 0.2, True)
    group = build_optimizer(config("optimizer=sgd"), [weight]).param_groups[0]
    assert (group["lr"], group["momentum"]) == (0.02, 0.9)
    assert build_scheduler(config("trainer.warmup=0.5"), 0.1)(0.25, 0) == 0.5


@pytest.fixture
def lab(tmp_path, monkeypatch):
    (tmp_path / "nodelab.py").write_text(
        textwrap.dedent(
            """
            import torch
            from segexp.training.schedule import Scheduler

            class PerPixel(torch.nn.Module):
                def forward(self, logits, targets):
                    return (logits - targets) ** 2

            class Blind(torch.nn.Module):
                def forward(self, logits, targets):
                    return targets.mean()

            class Words(torch.nn.Module):
                def forward(self, logits, targets):
                    return "small"

            class Broken(torch.nn.Module):
                def forward(self, logits):
                    return logits.mean()

            class Nothing(Scheduler):
                def __call__(self, progress, step):
                    return None

            from segexp.training.callbacks import Callback

            class Mine(Callback):
                def __init__(self, every=1):
                    if every < 1:
                        raise ValueError(f"every={every}: expected 1 or more")

            class Half(Scheduler):
                def __call__(self, progress, step):
                    return 0.5
            """
        )
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["+loss.mine={_target_: nodelab.PerPixel}"], "loss.mine: PerPixel gives a tensor of shape (2, 1, 32, 32)"),
        (["+loss.mine={_target_: nodelab.Blind}"], "loss.mine: Blind gives a number without a gradient"),
        (["+loss.mine={_target_: nodelab.Words}"], "loss.mine: Words gives a str"),
        (["+loss.mine={_target_: nodelab.Broken}"], "loss.mine: Broken fails: TypeError"),
        (
            ["loss=tversky", "loss.tversky.false_negatives=-1"],
            "loss.tversky: segexp.losses.Tversky: false_negatives=-1",
        ),
        (
            ["optimizer=adamw", "optimizer._target_=torch.optim.LBFGS", "~optimizer.fused", "~optimizer.weight_decay"],
            "LBFGS cannot take",
        ),
        (["optimizer=adamw", "optimizer._target_=torch.optim.Muon", "~optimizer.fused"], "Muon only supports 2D"),
        (["optimizer.lr=0"], "lr=0"),
        (["optimizer._partial_=false"], "expected _partial_: true"),
        (["optimizer.weight_decay=much"], "optimizer: segexp.training.muon.Muon: "),
        (["optimizer=adamw", "optimizer.weight_decay=much"], "optimizer: torch.optim.AdamW: "),
        (["scheduler=step", "~scheduler.step_size"], "step_size"),
        (["scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau", "~scheduler.warmup"], "depends on scores"),
        (["scheduler._target_=nodelab.Nothing", "~scheduler.warmup"], "Nothing gives None at 0 %"),
        (["scheduler=poly", "scheduler.power=-1"], "power=-1: expected more than 0"),
        (
            [
                "scheduler._target_=torch.optim.lr_scheduler.OneCycleLR",
                "~scheduler.warmup",
                "+scheduler.max_lr=0.1",
                "+scheduler.total_steps=9",
                "trainer.steps=50",
            ],
            "OneCycleLR ends after step 9",
        ),
    ],
)
def test_what_cannot_be_trained_with_is_one_message(overrides, words, lab):
    cfg = config("allow_targets=[nodelab]", *overrides)
    with pytest.raises(InputError) as error:
        check_nodes(cfg)
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+callbacks.mine={_target_: nodelab.Mine, evry: 2}", "callbacks.mine.evry: Mine takes every; did you mean"),
        (
            "+callbacks.mine={_target_: nodelab.Blind}",
            "expected a class derived from segexp.training.callbacks.Callback",
        ),
        ("+callbacks.mine={_target_: os.system}", "expected a class under"),
        ("+callbacks.mine=3", "callbacks.mine=3: expected an entry with a _target_"),
        ("+logger.mine={a: 1}", "logger.mine={'a': 1}: expected an entry with a _target_"),
        ("+logger.tensorboard.folder=x", "logger.tensorboard.folder: TensorBoard takes"),
        ("debug.profile=-1", "debug.profile=-1: expected 0 to 1000"),
        ("debug.overfit=maybe", "debug.overfit=maybe: expected true or false"),
        ("+debug.overfitt=true", "did you mean debug.overfit?"),
        ("+trainer.mlflow=true", "trainer.mlflow: is called logger.mlflow.uri, with logger=[tensorboard,mlflow], now"),
    ],
)
def test_loggers_callbacks_and_debug_settings_that_are_wrong_are_one_message(override, words, lab):
    with pytest.raises(InputError) as error:
        config("allow_targets=[nodelab]", override)
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+callbacks.mine={_target_: nodelab.Mine, every: 0}", "callbacks.mine: nodelab.Mine: every=0: expected 1"),
        ("logger.mlflow.uri=3", "logger.mlflow: segexp.training.loggers.mlflow_log.Mlflow: uri=3: expected an address"),
    ],
)
def test_arguments_that_a_callback_refuses_are_one_message(override, words, lab):
    with pytest.raises(InputError) as error:
        check_nodes(config("allow_targets=[nodelab]", "logger=mlflow", override))
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_several_loggers_and_callbacks_at_once(lab):
    node = "+callbacks.mine={_target_: nodelab.Mine}"
    cfg = config("allow_targets=[nodelab]", "logger=[tensorboard,mlflow]", "callbacks=[early_stopping,pictures]", node)
    assert [type(made).__name__ for made in nodes.build_callbacks(cfg)] == ["TensorBoard", "Mlflow", "Mine"]
    assert (cfg.trainer.patience, cfg.trainer.pictures) == (10, 16)
    assert nodes.build_callbacks(config("logger=none")) == nodes.build_callbacks(config("logger=csv")) == []
    assert [type(made).__name__ for made in nodes.build_callbacks(config())] == ["TensorBoard"]


def test_all_that_is_wrong_comes_at_once(lab):
    cfg = config(
        "allow_targets=[nodelab]", "+loss.mine={_target_: nodelab.PerPixel}", "optimizer.lr=0", "scheduler.warmup=1"
    )
    with pytest.raises(InputError) as error:
        check_nodes(cfg)
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == ["loss.mine", "optimizer", "scheduler"]


def test_a_labs_own_schedule(lab):
    cfg = config("allow_targets=[nodelab]", "scheduler._target_=nodelab.Half", "~scheduler.warmup")
    assert build_scheduler(cfg, 0.1)(0.3, 7) == 0.5
