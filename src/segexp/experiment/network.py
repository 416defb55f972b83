"""Build the network of a run or of one of its candidates, with its batches, loss and optimiser."""

from collections.abc import Callable, Sequence

import torch

from segexp.config import RunConfig
from segexp.data.dataset import Sample
from segexp.data.loader import CropBatches, DeviceBatches
from segexp.data.sources import foreground_share
from segexp.data.synthetic import Mix
from segexp.distributed import Ranks
from segexp.experiment.build import build_learner, build_model, build_schedule, build_source
from segexp.experiment.nodes import build_loss, build_optimizer, build_scheduler, scale_rates
from segexp.experiment.start import Started, freeze, log_table, parameter_groups, take_weights
from segexp.experiment.trainer import TrainingRun
from segexp.inference.predictor import Predictor
from segexp.models import Network
from segexp.training.learner import Learner
from segexp.training.schedule import Schedule, growing_sizes

Log = Callable[[str], None]


def build_network(
    cfg: RunConfig,
    samples: list[Sample],
    start: Started | None,
    arithmetic: tuple[torch.device, str],
    mix: Mix | None,
    ranks: Ranks,
    log: Log,
) -> tuple[Learner, Predictor, CropBatches | DeviceBatches]:
    """A network with its loss and optimiser, what predicts with it, and its training batches.

    Args:
        cfg: the settings.
        samples: training images.
        start: the model that the network starts from.
        arithmetic: device and precision.
        mix: generated images in addition to the samples.
        ranks: the processes of the run.
        log: called with the table of the weights that are taken, the network's size, and how batches are read.
    """
    task, trainer, allowed = cfg.task, cfg.trainer, tuple(cfg.allow_targets)
    device, precision = arithmetic
    torch.manual_seed(cfg.seed)
    model, frozen = build_started_model(cfg, foreground_share(samples), start, log)
    groups, factors = parameter_groups(model, trainer.rates)
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    log(model_line(model, frozen))
    if ranks.world > 1:
        log(f"processes: {ranks.world}, each with its share of every batch")
    source = build_source(cfg.data, task, trainer, cfg.seed, samples, model, precision, ranks, log, mix)
    loss = build_loss(cfg.loss, len(task.classes), allowed, ranks)
    optimizer = build_optimizer(cfg.optimizer, groups, allowed)
    scale_rates(optimizer, factors)
    learner = build_learner(loss, optimizer, trainer, model, precision, ranks)
    threshold = task.scoring().threshold or 0.5
    return learner, Predictor(learner.average, task.normalization, task.classes, threshold, device, precision), source


def build_started_model(
    cfg: RunConfig, foreground: Sequence[float], start: Started | None, log: Log
) -> tuple[Network, int]:
    """The network, with the weights that it starts from, if any, and how many weights are frozen."""
    model = build_model(cfg.model, cfg.data.channels, len(cfg.task.classes), foreground, cfg.allow_targets)
    if start is not None and start.model is not None:
        log(start.model.title())
        log_table([*take_weights(model, start.model, cfg.task.classes), *start.rows], log)
    return model, freeze(model, cfg.trainer.freeze)


def model_line(model: Network, frozen: int) -> str:
    """The line of the log on a network and its size."""
    weights = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    still = f", {frozen / 1e6:.2f} million of them frozen" if frozen else ""
    return f"model: {model.title}, {weights:.2f} million weights{still}"


def schedule_of(cfg: RunConfig, training: TrainingRun) -> Schedule:
    """The schedule of a training with these settings."""
    lr = training.learner.lr
    scheduler = build_scheduler(cfg.scheduler, lr, tuple(cfg.allow_targets))
    plan, multiple = training.source.plan, training.predictor.model.multiple
    sizes = growing_sizes(plan.size, cfg.trainer.grow_crops, multiple)
    return build_schedule(cfg.trainer, plan.steps, training.monitor, cfg.seed, scheduler, lr, sizes)
