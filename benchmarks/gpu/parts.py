"""What the stages share: the parts of a run, one of each operation, micrographs, and the times of work on a device."""

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest import mock

import hydra
import torch
from hydra import initialize_config_dir
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import segexp.augment as augment
from segexp.augment import Augmentation, base, clahe, geometry, warp
from segexp.config import RunConfig, conf_dir, read
from segexp.experiment.build import build_augment


@dataclass(frozen=True)
class Setting:
    """Where the stages run and how large: in full on CUDA, in miniature on a CPU.

    Attributes:
        device: cuda or cpu.
        folder: where files may be left; traces, runs.
        seconds: what the stage should keep within.
    """

    device: torch.device
    folder: str
    seconds: float

    @property
    def full(self) -> bool:
        """Whether this is the real thing."""
        return self.device.type == "cuda"


def compose(*overrides: str) -> RunConfig:
    """The checked configuration of a run."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        words = overrides if any(word.startswith("task=") for word in overrides) else ("task=vesicle", *overrides)
        return read(hydra.compose("config", [*words, "output_dir=none"]))


def recipe(task: str) -> Augmentation:
    """The task's list of operations."""
    return build_augment(compose(f"task={task}").augment)


def operations() -> dict[str, nn.Module]:
    """One of each operation, applied to every sample."""
    return {
        "RandomWarp": augment.RandomWarp(p_affine=1, p_elastic=1),
        "RandomWarp, a third of the samples": augment.RandomWarp(p_affine=0.3, p_elastic=0.3),
        "RandomWarp, constant padding": augment.RandomWarp(p_affine=1, padding="constant"),
        "RandomFlip": augment.RandomFlip(),
        "RandomCLAHE": augment.RandomCLAHE(p=1),
        "RandomCLAHE, 16 bit": augment.RandomCLAHE(p=1, bins=65536),
        "RandomGamma": augment.RandomGamma(p=1),
        "RandomBrightnessContrast": augment.RandomBrightnessContrast(p=1),
        "RandomBrightnessContrast, half the samples": augment.RandomBrightnessContrast(p=0.5),
        "RandomExtremeScale": augment.RandomExtremeScale(p=1),
        "RandomSquare": augment.RandomSquare(p=1),
        "RandomBlur": augment.RandomBlur(p=1),
        "RandomIllumination": augment.RandomIllumination(p=1),
        "RandomPhotonNoise": augment.RandomPhotonNoise(p=1),
        "Standardize": augment.Standardize(),
    }


@contextmanager
def device_route():
    """On the CPU: the route that images on a device take."""
    homes = (base.__dict__, geometry.__dict__, warp.__dict__, clahe.__globals__)
    with ExitStack() as stack:
        for home in homes:
            stack.enter_context(mock.patch.dict(home, {"in_host_memory": lambda images: False}))
        yield


def micrographs(batch: int, size: int, device: torch.device, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Standardised images (B, 1, S, S) float32, lines and noise, and uint8 masks: drawn on the device itself."""
    drawn = torch.Generator().manual_seed(seed)
    start, angle, wave = (torch.rand(3, batch, 4, 1, 1, generator=drawn)).to(device)
    y, x = torch.meshgrid(*2 * [torch.arange(size, device=device, dtype=torch.float32) / size], indexing="ij")
    light, masks = torch.zeros(batch, size, size, device=device), torch.zeros(batch, size, size, device=device)
    for one in range(4):
        turn, shift, bend = (6.28 * values[:, one] for values in (angle, start, wave))
        distance = (x - 0.5) * turn.cos() + (y - 0.5) * turn.sin() + 0.1 * (bend + 9 * y).sin() - 0.3 * shift.sin()
        light += (0.3 + 0.2 * one) * (-((size / 3 * distance) ** 2)).exp()
        masks.masked_fill_(distance.abs() < 2 / size, 1)
    torch.manual_seed(seed)
    light += 0.1 * torch.randn(light.shape, device=device)
    images = (light - light.mean((1, 2), keepdim=True)) / light.std((1, 2), keepdim=True)
    return images[:, None].contiguous(), masks[:, None].to(torch.uint8)


def synchronize(device: torch.device) -> None:
    """Wait until all work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(
    run: Callable[[], object], device: torch.device, seconds: float = 1.0, most: int = 20, least: int = 1
) -> float:
    """Median time of a call, by the clock, in blocks of a few calls: work that is queued meanwhile counts once.

    The first call warms up. No more than `most` blocks are timed, and none after `seconds`. Blocks have at least
    `least` calls: in a block of one the processor's work is never hidden behind the GPU's.
    """
    run()
    synchronize(device)
    tick = time.perf_counter()
    run()
    synchronize(device)
    once = time.perf_counter() - tick
    calls = max(least if device.type == "cuda" else 1, min(10, int(0.05 / max(once, 1e-6))))
    times, end = [], time.perf_counter() + seconds
    while not times or (len(times) < most and time.perf_counter() < end):
        tick = time.perf_counter()
        for _ in range(calls):
            run()
        synchronize(device)
        times.append((time.perf_counter() - tick) / calls)
    return 1e3 * statistics.median(times)


def busy_milliseconds(run: Callable[[], object], device: torch.device, calls: int = 5) -> float:
    """Time that the GPU is busy in a call, by the profiler; less than the whole where it waits for the processor."""
    with profile(activities=[ProfilerActivity.CUDA]) as record:
        for _ in range(calls):
            run()
        synchronize(device)
    return sum(event.self_device_time_total for event in record.key_averages()) / 1e3 / calls


def peak_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Most bytes of the GPU that a call holds beyond what was there before; None on a CPU."""
    if device.type != "cuda":
        return None
    synchronize(device)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
