"""Measures the overhead of training: the time of a step of the training loop over that of the model's own computation.

    python benchmarks/training.py [--model unet_small] [--task vesicle] [--steps 40] [--threads 2]

Each step of the real loop (data, crops, conversion, augmentation, loss, optimiser, records) is followed by a bare step:
forward, backward and fused AdamW of a second model with the same weights, precision and memory format, on one batch in
memory, with the mean of the logits as its loss. A busy machine therefore slows both equally. The table shows the
medians of the steps' times, their ratio, and the ratio of the processor time of all steps, without validation and its
pictures. The last two columns are the times of preparing a batch (augmentation included) and of the loss alone.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from segexp.config.compose import compose_config
from segexp.data.loader import Batch, open_feed
from segexp.data.sampler import Position
from segexp.data.sources import foreground_share
from segexp.device import autocast, choose_precision, set_arithmetic
from segexp.distributed import ALONE
from segexp.experiment.build import build_augment, build_learner, build_model, build_schedule, build_source, read_data
from segexp.experiment.nodes import build_loss, build_optimizer, build_scheduler
from segexp.training.learner import Learner
from segexp.training.loggers.run_log import RunLog
from segexp.training.loop import fit
from segexp.training.prepare import prepare
from segexp.training.state import Scores, TrainState
from segexp.training.stop import StopRequest

WARM_UP = 5
CPU = torch.device("cpu")


class Stopwatch:
    """A logger that passes records on, and takes a bare step after each step of the loop."""

    def __init__(self, log: RunLog, bare):
        self.log, self.bare = log, bare
        self.loop_times: list[tuple[float, float]] = []
        self.bare_times: list[tuple[float, float]] = []
        self.tick = now()

    def step(self, state: TrainState, progress: float, loss: float | None, rate: float) -> None:
        self.log.step(state, progress, loss, rate)
        self.loop_times.append(since(self.tick))
        tick = now()
        self.bare()
        self.bare_times.append(since(tick))
        self.tick = now()

    def epoch(self, *facts) -> None:
        self.tick = now()

    def info(self, text: str) -> None:
        self.log.info(text)


class Trained:
    """The training part of a run, without validation and without files."""

    foreground = 0.5

    def __init__(
        self,
        learner: Learner,
        source,
        augment,
        normalization: str,
        device: torch.device = CPU,
        workers: int = 0,
        cuda_graph: bool = False,
    ):
        self.learner, self.state, self.stop, self.ranks = learner, TrainState(), StopRequest(), ALONE
        self.source, self.augment, self.normalization = source, augment, normalization
        self.classes = ["foreground"]
        self.device, self.workers, self.cuda_graph = device, workers, cuda_graph

    def batches(self, first: Position, size: int | None = None) -> Iterator[Batch]:
        return open_feed(self.source.of_size(size), first, self.device, self.workers)

    def prepare(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return prepare(batch, self.device, self.augment, self.normalization, 1, ALONE)

    def validate(self) -> Scores:
        return {"dice": 0.0}

    def save(self, improved: bool) -> None:
        pass


def now() -> tuple[float, float]:
    """Return wall-clock and processor seconds."""
    return time.perf_counter(), time.process_time()


def since(tick: tuple[float, float]) -> tuple[float, float]:
    wall, busy = now()
    return wall - tick[0], busy - tick[1]


def measure(overrides: list[str], steps: int) -> tuple[Stopwatch, float, float]:
    """Train for `steps` steps in turn with bare steps; also measure the time of augmentation and of the loss alone."""
    cfg = compose_config([*overrides, "trainer.device=cpu"])
    precision, _ = choose_precision(cfg.trainer.precision, CPU)
    set_arithmetic(precision, False)
    samples, _ = read_data(cfg.data, cfg.task, cfg.seed, cfg.trainer.num_workers, lambda text: None)
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        model = build_model(cfg.model, cfg.data.channels, len(cfg.task.classes), foreground_share(samples))
        models.append(model.to(memory_format=torch.channels_last))
    learner = build_learner(
        build_loss(cfg.loss, len(cfg.task.classes)),
        build_optimizer(cfg.optimizer, models[0].parameters()),
        cfg.trainer,
        models[0],
        precision,
        ALONE,
    )
    adamw = torch.optim.AdamW(models[1].parameters(), learner.lr, fused=True)
    source = build_source(
        cfg.data, cfg.task, cfg.trainer, cfg.seed, samples, models[0], precision, ALONE, lambda text: None
    )
    run = Trained(learner, source, build_augment(cfg.augment), cfg.task.normalization)
    batch = source[0, 0]
    images, targets = run.prepare(batch)

    def bare_step() -> None:
        adamw.zero_grad(set_to_none=True)
        with autocast(CPU, precision):
            logits = models[1](images)
        logits.float().mean().backward()
        adamw.step()

    models[1].train()
    with tempfile.TemporaryDirectory() as folder, RunLog(Path(folder), "dice") as log:
        watch = Stopwatch(log, bare_step)
        scheduler = build_scheduler(cfg.scheduler, learner.lr)
        fit(
            run,
            watch,
            build_schedule(cfg.trainer, source.plan.steps, cfg.task.monitor, cfg.seed, scheduler, learner.lr),
        )
    del watch.loop_times[:WARM_UP], watch.bare_times[:WARM_UP]
    logits = torch.randn(images.shape[0], 1, *images.shape[2:], requires_grad=True)
    alone = []
    for act in (lambda: run.prepare(batch), lambda: learner.loss(logits, targets).backward()):
        times = []
        for _ in range(15):
            tick = now()
            act()
            times.append(since(tick)[0])
        alone.append(statistics.median(times))
    return watch, alone[0], alone[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="unet_small")
    parser.add_argument("--tasks", default="vesicle,cytoskeleton")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = ["", f"{arguments.model}, 8 crops of 256x256, {arguments.threads} threads, {arguments.steps} steps", ""]
    lines.append(f"{'':28}{'loop':>9}{'bare':>9}{'ratio':>8}{'processor':>11}{'prepare':>10}{'loss':>9}")
    for task in arguments.tasks.split(","):
        for augment in (task, "none"):
            overrides = [f"task={task}", f"model={arguments.model}", f"augment={augment}", "trainer=quick"]
            overrides += ["trainer.max_time=null", f"trainer.steps={arguments.steps + WARM_UP}"]
            overrides += ["data.synthetic.train=32", "data.synthetic.val=1"]
            watch, prepared, loss = measure(overrides, arguments.steps)
            loop, bare = (
                statistics.median(wall for wall, _ in times) for times in (watch.loop_times, watch.bare_times)
            )
            busy = sum(b for _, b in watch.loop_times) / sum(b for _, b in watch.bare_times)
            name = f"{task}, {'no augmentation' if augment == 'none' else 'augmented'}"
            row = f"{name:28}{1e3 * loop:6.0f} ms{1e3 * bare:6.0f} ms{loop / bare:8.3f}{busy:11.3f}"
            lines.append(row + f"{1e3 * prepared:7.1f} ms{1e3 * loss:6.1f} ms")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
