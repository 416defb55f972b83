"""Steps of the real loop: not one wait outside logging steps, and what a step costs beside the bare network's."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from benchmarks.gpu.counting import Count
from benchmarks.gpu.parts import Setting, busy_milliseconds, compose, milliseconds, synchronize
from benchmarks.gpu.product import command
from benchmarks.gpu.product import run as run_command
from benchmarks.training import Trained
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from segexp.data.loader import Batch, open_feed
from segexp.data.sources import foreground_share
from segexp.device import choose_precision, set_arithmetic
from segexp.distributed import ALONE
from segexp.experiment.build import (
    build_augment,
    build_learner,
    build_model,
    build_source,
    choose_cuda_graph,
    read_data,
)
from segexp.experiment.nodes import build_loss, build_optimizer
from segexp.training.cuda_graph import Recorded, RecordedStep
from segexp.training.learner import Learner
from segexp.training.loop import fit
from segexp.training.schedule import Budget, Constant, Schedule, growing_sizes
from segexp.training.state import TrainState

WARM_UP = 4
SMALL = ("model.widths=[4,8]", "task.crop=32", "data.synthetic.size=64", "data.synthetic.train=4")
REPEATABLE = ("data.cache=device", "trainer.batch_size=8", "model=unet_fast", "trainer.deterministic=true")
LARGE = ("task.crop=256", "data.synthetic.size=384", "data.synthetic.train=24")


class _Enough(Exception):
    pass


class Steps:
    """A listener that makes every wait an error after some steps, and ends training after more."""

    def __init__(self, device: torch.device, steps: int) -> None:
        self.device, self.steps, self.taken = device, steps, 0
        self.count = Count("cpu")

    def step(self, state: TrainState, progress: float, loss: float | None, rate: float) -> None:
        self.taken += 1
        if self.taken == WARM_UP:
            if self.device.type == "cuda":
                torch.cuda.set_sync_debug_mode("error")
            else:
                self.count.__enter__()
        if self.taken == WARM_UP + self.steps:
            raise _Enough

    def close(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
        elif self.taken >= WARM_UP:
            self.count.__exit__(None, None, None)

    def epoch(self, *facts: object) -> None:
        pass

    def info(self, text: str) -> None:
        print(text)


def assemble(setting: Setting, *overrides: str) -> tuple[Learner, Trained]:
    """The training half of a run on the device."""
    words = [*(LARGE if setting.full else SMALL), "data.synthetic.val=1", *overrides]
    cfg = compose(*words)
    precision, _ = choose_precision(cfg.trainer.precision, setting.device)
    set_arithmetic(precision, cfg.trainer.deterministic)
    samples, _ = read_data(cfg.data, cfg.task, cfg.seed, cfg.trainer.num_workers, lambda text: None)
    model = build_model(cfg.model, cfg.data.channels, len(cfg.task.classes), foreground_share(samples))
    model = model.to(setting.device).to(memory_format=torch.channels_last)
    loss = build_loss(cfg.loss, len(cfg.task.classes))
    learner = build_learner(
        loss, build_optimizer(cfg.optimizer, model.parameters()), cfg.trainer, model, precision, ALONE
    )
    source = build_source(
        cfg.data, cfg.task, cfg.trainer, cfg.seed, samples, model, precision, ALONE, lambda text: None
    )
    augment = build_augment(cfg.augment).to(setting.device)
    model.train()
    recorded, _ = choose_cuda_graph(cfg.trainer, learner, augment, ALONE)
    run = Trained(learner, source, augment, cfg.task.normalization, setting.device, cfg.trainer.num_workers, recorded)
    return learner, run


def waiting(setting: Setting) -> Iterator[tuple[str, Callable[[], dict]]]:
    """Both tasks, images on the device and in memory, bf16 and fp16, steps recorded and not."""
    for task in ("cytoskeleton", "vesicle") if setting.full else ():
        yield f"recorded steps equal the usual ones, {task}", partial(_same, setting, task)
        yield f"recorded steps equal the usual ones while crops grow, {task}", partial(_growing, setting, task)
    precisions = ("bf16", "fp16") if setting.full else ("fp32",)
    graphs = ("auto", "never") if setting.full else ("never",)
    tasks = ("cytoskeleton", "vesicle")
    for graph, precision, task, cache in itertools.product(graphs, precisions, tasks, ("device", "ram")):
        if graph == "never" and precision == "fp16":
            continue
        words = (f"task={task}", f"data.cache={cache}", f"trainer.precision={precision}", "trainer.batch_size=4")
        model = ("model=unet_fast", "trainer.ema=0.99") if setting.full else ()
        how = "recorded" if graph == "auto" else "step by step"
        words = (*words, f"trainer.cuda_graph={graph}", *model)
        yield f"{task}, cache={cache}, {precision}, {how}", partial(_waits, setting, words)


def _same(setting: Setting, task: str, steps: int = 8) -> dict:
    """The same steps with and without a recording: weights after them, with repeatable kernels alone."""
    models, losses = [], []
    for record in (False, True):
        torch.manual_seed(0)
        learner, run = assemble(setting, f"task={task}", *REPEATABLE)
        step = RecordedStep(learner, run.augment, run.normalization, len(run.classes))
        feed = run.batches((0, 0))
        for number in range(steps):
            raw, rate = next(feed), 0.5 ** (8 + number % 2)  # float32 holds it: the rate of a recorded step is one
            torch.manual_seed(number)
            if record:
                loss, _, _ = step(raw, rate)
            else:
                loss, _ = learner.step(*run.prepare(raw), rate)
            losses.append(loss.item())
        models.append(learner.model.state_dict())
    set_arithmetic("bf16", False)
    unlike = _unlike(*models)
    return {
        "ok": not unlike,
        "tensors unlike": len(unlike),
        "of": len(models[0]),
        "last losses": losses[steps - 1 :: steps],
    }


def _unlike(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    """Names of the tensors that differ in a bit."""
    return [name for name, value in first.items() if not torch.equal(value, second[name])]


class _Quiet(Steps):
    def step(self, state: TrainState, progress: float, loss: float | None, rate: float) -> None:
        self.taken += 1


def _growing(setting: Setting, task: str, steps: int = 20) -> dict:
    """The loop with crops of three sizes, recorded anew at each, and the same step by step: weights after it."""
    sizes = growing_sizes(256, 0.7, 16)
    models, taken = [], []
    for graph in ("auto", "never"):
        torch.manual_seed(0)
        learner, run = assemble(setting, f"task={task}", *REPEATABLE, f"trainer.cuda_graph={graph}")
        schedule = Schedule(Budget(steps=steps), steps, 2.0**-9, Constant(warmup=0.0), log_every=1000, sizes=sizes)
        listener = _Quiet(setting.device, steps)
        fit(run, listener, schedule)
        models.append(learner.model.state_dict())
        taken.append(listener.taken)
    set_arithmetic("bf16", False)
    unlike = _unlike(*models)
    return {
        "ok": not unlike and taken == [steps, steps] and len(sizes) == 2,
        "tensors unlike": len(unlike),
        "of": len(models[0]),
        "steps": steps,
        "sides": [*(side for _, side in sizes), 256],
    }


def _waits(setting: Setting, words: tuple[str, ...]) -> dict:
    _, run = assemble(setting, *words)
    steps = Steps(setting.device, 20 if setting.full else 2)
    schedule = Schedule(Budget(steps=1000), epoch_steps=500, lr=1e-3, log_every=1000)
    try:
        fit(run, steps, schedule)
    except _Enough:
        pass
    finally:
        steps.close()
    found = steps.count.waits()
    return {
        "ok": not found and steps.taken == WARM_UP + steps.steps,
        "steps": steps.steps,
        "waits": sum(found.values()),
    }


def costs(setting: Setting) -> Iterator[tuple[str, Callable[[], dict]]]:
    """A step at growing batches, ways to compile it, and where images are kept."""
    batches, models = ((32, 8, 128), ("unet", "unet_fast")) if setting.full else ((2,), ("unet",))
    for batch in batches:
        for model, task in itertools.product(models, ("cytoskeleton", "vesicle")):
            if task == "vesicle" and batch != batches[0]:
                continue
            words = (f"model={model}", f"trainer.batch_size={batch}", f"task={task}", "data.cache=device")
            yield f"{model}, {task}, batch {batch}", partial(_cost, setting, words, batch)
        if batch == batches[0]:
            for cache in ("device", "ram", "disk"):
                yield f"images a second, unet_fast, cache={cache}", partial(_cached, setting, cache, batch)
    for way in ("default", "reduce-overhead") if setting.full else ():
        words = (
            "model=unet",
            "trainer.batch_size=32",
            "task=cytoskeleton",
            "data.cache=device",
            f"trainer.compile={way}",
        )
        yield f"unet, cytoskeleton, batch 32, compile={way}", partial(_cost, setting, words, 32)


def _cost(setting: Setting, words: tuple[str, ...], batch: int) -> dict:
    learner, run = assemble(setting, *words)
    feed = open_feed(run.source, (0, 0), setting.device)
    raw = next(feed)
    images, targets = run.prepare(raw)
    device, seconds = setting.device, 0.8 if setting.full else 0.05
    bare = milliseconds(lambda: learner.step(images, targets, 1e-3), device, seconds, least=8)
    augmented = milliseconds(lambda: learner.step(*run.prepare(raw), 1e-3), device, seconds, least=8)

    def whole() -> None:
        learner.step(*run.prepare(next(feed)), 1e-3)

    loop = milliseconds(whole, device, seconds, least=8)
    row = {"bare ms": bare, "augmented ms": augmented, "loop ms": loop, "images/s": 1e3 * batch / loop}
    row["share of augmentation and input"] = 1 - bare / loop
    if run.cuda_graph:
        row |= _recorded(setting, learner, run, images, targets, feed, batch)
    elif setting.full:
        row["GPU busy share"] = busy_milliseconds(whole, device) / loop
    goal = run.cuda_graph and words[0] == "model=unet" and batch == 32
    share = row.get("recorded: share of augmentation and input", 1.0)
    return row | ({"goal": "recorded share <= 0.05", "met": share <= 0.05} if goal else {})


def _recorded(
    setting: Setting, learner: Learner, run: Trained, images: Tensor, targets: Tensor, feed: Iterator, batch: int
) -> dict:
    """The same step recorded: the network alone on a prepared batch, and the whole loop."""
    device, seconds = setting.device, 0.8
    rate = torch.tensor(1e-3)

    def network(tensors: list[Tensor], values: list[Tensor]) -> tuple[Tensor, ...]:
        return learner.update(*tensors)

    learner.set_rate(1e-3)
    for group in learner.optimizer.param_groups:
        group["capturable"] = True
    alone = Recorded(network, device)
    for _ in range(WARM_UP):
        alone([images, targets], [rate])
    bare = milliseconds(lambda: alone([images, targets], [rate]), device, seconds, least=8)
    for group in learner.optimizer.param_groups:
        group["capturable"] = False
    step = RecordedStep(learner, run.augment, run.normalization, len(run.classes))
    for _ in range(WARM_UP):
        step(next(feed), 1e-3)
    loop = milliseconds(lambda: step(next(feed), 1e-3), device, seconds, least=8)
    busy = busy_milliseconds(lambda: step(next(feed), 1e-3), device)
    return {
        "recorded: bare ms": bare,
        "recorded: loop ms": loop,
        "recorded: images/s": 1e3 * batch / loop,
        "recorded: share of augmentation and input": 1 - bare / loop,
        "GPU busy share": busy / loop,
    }


def _cached(setting: Setting, cache: str, batch: int) -> dict:
    place = Path(setting.folder) / "images"
    if not place.exists():
        count, size = ("32", "512") if setting.full else ("2", "64")
        words = ["--train", count, "--val", "1", "--size", size, "--output", str(place)]
        run_command(command("synthesize", "cytoskeleton", *words), place.with_suffix(".log"))
    words = ["task=cytoskeleton", f"data.root={place}", f"data.cache={cache}", f"trainer.batch_size={batch}"]
    workers = 8 if setting.full else 0
    learner, run = assemble(
        setting, *words, f"trainer.num_workers={workers}", *(("model=unet_fast",) if setting.full else ())
    )
    feed = run.batches((0, 0))
    step: Callable[[Batch], object] = lambda raw: learner.step(*run.prepare(raw), 1e-3)  # noqa: E731
    if run.cuda_graph:
        recorded = RecordedStep(learner, run.augment, run.normalization, len(run.classes))
        step = partial(recorded, rate=1e-3)
    for _ in range(WARM_UP):
        step(next(feed))
    loop = milliseconds(lambda: step(next(feed)), setting.device, 2.0 if setting.full else 0.05, least=8)
    return {"loop ms": loop, "images/s": 1e3 * batch / loop, "workers": workers if cache == "disk" else 0}


def traces(setting: Setting) -> Iterator[tuple[str, Callable[[], dict]]]:
    """One step of each task, as a trace for chrome://tracing or ui.perfetto.dev."""
    for task in ("cytoskeleton", "vesicle"):
        yield f"trace of a step, {task}", partial(_trace, setting, task)


def _trace(setting: Setting, task: str) -> dict:
    model = ("model=unet_fast", "trainer.batch_size=32") if setting.full else ("trainer.batch_size=2",)
    learner, run = assemble(setting, f"task={task}", "data.cache=device", *model)
    feed = run.batches((0, 0))
    for _ in range(3):
        learner.step(*run.prepare(next(feed)), 1e-3)
    synchronize(setting.device)
    both = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if setting.full else [])]
    with profile(activities=both) as record:
        learner.step(*run.prepare(next(feed)), 1e-3)
        synchronize(setting.device)
    path = Path(setting.folder) / f"step_{task}.json.gz"
    record.export_chrome_trace(str(path))
    times = sorted(record.key_averages(), key=lambda event: -event.self_device_time_total)[:8]
    top = {event.key[:60]: round(event.self_device_time_total / 1e3, 3) for event in times} if setting.full else {}
    return {"ok": path.stat().st_size > 0, "kB": path.stat().st_size // 1024, "slowest, ms": top}
