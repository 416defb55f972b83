"""Measures the cost of new images: training steps with `data.synthetic.online=true` against steps with data in memory.

    python benchmarks/online.py [--task vesicle] [--crops 4,2,1] [--steps 12] [--rounds 5]

Settings: the default model and augmentation, batches of 8 crops of 256x256, images of 384x384. Rounds of both kinds
take turns in one process; an online round ends when its requested images are drawn. The script prints the medians over
the rounds of the ratios of wall-clock time and of processor time. The goal is 1.10 or less.
"""

import argparse
import statistics
import time
from itertools import islice

import torch

from segexp.config.compose import compose_config
from segexp.data.loader import CropBatches, open_feed
from segexp.data.sampler import CropPlan
from segexp.data.sources import foreground_share
from segexp.data.synthetic import Stream
from segexp.device import choose_device, choose_precision
from segexp.distributed import ALONE
from segexp.experiment.build import build_augment, build_learner, build_mix, build_model, recipe
from segexp.experiment.nodes import build_loss, build_optimizer
from segexp.training.prepare import prepare


def seconds(work) -> tuple[float, float]:
    """Return wall-clock and processor time in seconds."""
    start, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="vesicle")
    parser.add_argument("--crops", default="4,2,1")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    device, _ = choose_device("auto")
    overrides = [f"task={options.task}", "trainer=quick", "data.synthetic.online=true", "output_dir=none"]
    for crops in map(int, options.crops.split(",")):
        cfg = compose_config([*overrides, f"data.synthetic.crops={crops}"])
        samples = recipe(cfg.data, cfg.task, cfg.seed).samples(range(32))
        model = build_model(cfg.model, cfg.data.channels, 1, foreground_share(samples))
        model = model.to(device).to(memory_format=torch.channels_last)
        loss, optimizer = build_loss(cfg.loss, 1), build_optimizer(cfg.optimizer, model.parameters())
        learner = build_learner(loss, optimizer, cfg.trainer, model, choose_precision("auto", device)[0], ALONE)
        augment = build_augment(cfg.augment).to(device)
        mix = build_mix(cfg.data, cfg.task, cfg.seed, device)
        assert isinstance(mix.images, Stream)
        plans = [CropPlan(samples, 256, 8, cfg.task.foreground, 0, mix=each) for each in (None, mix)]
        feeds = [open_feed(CropBatches(plan), (0, 0), device) for plan in plans]

        def train(feed, learner=learner, augment=augment, cfg=cfg, stream=mix.images) -> None:
            for batch in islice(feed, options.steps):
                learner.step(*prepare(batch, device, augment, cfg.task.normalization, 1), 1e-3)
            stream.wait()
            if device.type == "cuda":
                torch.cuda.synchronize()

        for feed in feeds:
            train(feed)
        rounds = [[seconds(lambda feed=feed: train(feed)) for feed in feeds] for _ in range(options.rounds)]
        wall, processor = (statistics.median(new[k] / old[k] for old, new in rounds) for k in range(2))
        step = statistics.median(old[1] for old, _ in rounds) / options.steps
        print(
            f"{options.task}, {crops} crops of each fresh image: {wall:.2f} times the time of training from memory, "
            f"{processor:.2f} times the processor time ({1000 * step:.0f} ms a step from memory)",
            flush=True,
        )


if __name__ == "__main__":
    main()
