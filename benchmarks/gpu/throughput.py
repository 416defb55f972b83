"""Images a second of the recipes beside stock Kornia on the same device, and how near to its bandwidth they come."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from benchmarks.gpu.counting import Count, bare_pair
from benchmarks.gpu.parts import (
    Setting,
    busy_milliseconds,
    device_route,
    micrographs,
    milliseconds,
    operations,
    peak_memory,
    recipe,
)
from benchmarks.opponents import stock_kornia
from kornia.enhance import equalize_clahe
from torch import Tensor, nn

from segexp.augment import Augmentation, RandomWarp, clahe
from segexp.augment.geometry import sampling_map
from segexp.training.cuda_graph import WARM_UP, Recorded, drawn_values, with_values

KORNIA_GOAL, WARP_GOAL, CLAHE_GOAL = 50, 1.2, 20_000


def checks(setting: Setting) -> Iterator[tuple[str, Callable[[], dict]]]:
    """The goals first, then the other batches and sizes."""
    batch, size = (32, 512) if setting.full else (2, 64)
    yield "copy from device to device", partial(_copy, setting)
    for task in ("cytoskeleton", "vesicle"):
        yield f"recipe {task}, {batch} x {size}", partial(_recipe, setting, task, batch, size)
    yield f"warp beside the bare pair, {batch} x {size}", partial(_warp, setting, batch, size)
    for bins in (256, 65536):
        yield f"CLAHE, {bins} levels, {batch} x {size}", partial(_clahe, setting, bins, batch, size)
    yield f"elastic beside torchvision, {batch} x {size}", partial(_torchvision, setting, batch, size)
    for name, operation in operations().items():
        yield f"{name}, {batch} x {size}", partial(_operation, setting, operation, batch, size)
    if setting.full:
        yield (
            f"recipe cytoskeleton as one compiled graph, {batch} x {size}",
            partial(_compiled, setting, "cytoskeleton", batch, size),
        )
    others = [(8, 512), (128, 512), (8, 1024), (32, 1024), (128, 1024)] if setting.full else []
    for batch_, size_ in others:
        for task in ("cytoskeleton", "vesicle"):
            yield f"recipe {task}, {batch_} x {size_}", partial(_recipe, setting, task, batch_, size_)


def _seconds(setting: Setting) -> float:
    return 0.4 if setting.full else 0.03


def _copy(setting: Setting) -> dict:
    source = torch.rand(2**30 if setting.full else 2**16, device=setting.device)
    target = torch.empty_like(source)
    taken = milliseconds(lambda: target.copy_(source), setting.device, _seconds(setting))
    return {"TB/s": 2 * source.nbytes / taken / 1e9}


def _counted(setting: Setting, run: Callable[[], object]) -> Count:
    with Count(setting.device.type) as count:
        run()
    return count


def _figures(setting: Setting, run: Callable[[], object], batch: int, copy: int) -> dict:
    taken = milliseconds(run, setting.device, _seconds(setting))
    count = _counted(setting, run)
    peak = peak_memory(run, setting.device) if setting.full else count.peak
    busy = {"GPU busy ms": busy_milliseconds(run, setting.device)} if setting.full else {}
    return {
        "ms": taken,
        **busy,
        "images/s": 1e3 * batch / taken,
        "launches": count.launches,
        "copies moved": count.moved / copy,
        "TB/s": count.moved / taken / 1e9,
        "peak copies": (peak or 0) / copy,
    }


def recorded(pipeline: Augmentation, images: Tensor, masks: Tensor) -> Callable[[], object]:
    """New draws applied to a batch by a replay of what the first calls did."""
    layout = pipeline.sample(images.shape)
    run = Recorded(lambda given, drawn: pipeline(*given, params=with_values(layout, drawn)), images.device)
    for _ in range(WARM_UP + 1):
        run([images, masks], drawn_values(pipeline.sample(images.shape)))
    return lambda: run([images, masks], drawn_values(pipeline.sample(images.shape)))


def _replay(setting: Setting, pipeline: Augmentation, images: Tensor, masks: Tensor) -> dict:
    """The same as one replay."""
    if not setting.full:
        return {}
    run = recorded(pipeline, images, masks)
    taken = milliseconds(run, setting.device, _seconds(setting))
    return {"recorded ms": taken, "recorded images/s": 1e3 * len(images) / taken}


def _recipe(setting: Setting, task: str, batch: int, size: int) -> dict:
    images, masks = micrographs(batch, size, setting.device)
    ours = recipe(task).to(setting.device)
    row = _figures(setting, lambda: ours(images, masks), batch, images.nbytes)
    row |= _replay(setting, ours, images, masks)
    unit = (images - images.amin()) / (images.amax() - images.amin())
    floats, kornia = masks.float(), stock_kornia(task)
    try:
        theirs = milliseconds(lambda: kornia(unit, floats), setting.device, _seconds(setting), most=5)
    except (RuntimeError, ValueError) as error:  # out of memory, or a fault of theirs
        return row | {"Kornia": f"failed: {str(error)[:200]}"}
    ratio = theirs / row.get("recorded ms", row["ms"])
    row |= {"Kornia ms": theirs, "times Kornia": ratio, "times Kornia, not recorded": theirs / row["ms"]}
    goal = setting.full and task == "cytoskeleton"
    return row | ({"goal": f">= {KORNIA_GOAL} x Kornia", "met": ratio >= KORNIA_GOAL} if goal else {})


def _operation(setting: Setting, operation: nn.Module, batch: int, size: int) -> dict:
    images, masks = micrographs(batch, size, setting.device)
    ours = Augmentation([operation]).to(setting.device)
    row = _figures(setting, lambda: ours(images, masks), batch, images.nbytes)
    return row | _replay(setting, ours, images, masks)


def _warp(setting: Setting, batch: int, size: int) -> dict:
    images, masks = micrographs(batch, size, setting.device)
    warp = RandomWarp(p_affine=1, p_elastic=1)
    params = warp.forward_parameters(images.shape)
    grid = sampling_map(params["matrix"], params["control"], warp.spacing, (size, size), setting.device, True)
    grid = grid.permute(0, 2, 3, 1).contiguous()

    def ours() -> None:
        if setting.full:
            warp.warp(images, masks, params)
        else:
            with device_route():
                warp.warp(images, masks, params)

    taken = milliseconds(ours, setting.device, _seconds(setting))
    bare = milliseconds(lambda: bare_pair(images, masks, grid), setting.device, _seconds(setting))
    row = {"ms": taken, "bare ms": bare, "images/s": 1e3 * batch / taken}
    if setting.full:
        layout = [params]
        run = Recorded(
            lambda given, drawn: warp.warp(given[0], given[1], with_values(layout, drawn)[0]), setting.device
        )
        values = drawn_values(layout)
        for _ in range(WARM_UP + 1):
            run([images, masks], values)
        taken = row["recorded ms"] = milliseconds(
            lambda: run([images, masks], values), setting.device, _seconds(setting)
        )
    row["times bare"] = taken / bare
    return row | ({"goal": f"<= {WARP_GOAL} x bare", "met": taken / bare <= WARP_GOAL} if setting.full else {})


def _clahe(setting: Setting, bins: int, batch: int, size: int) -> dict:
    images, _ = micrographs(batch, size, setting.device)
    unit = (images - images.amin()) / (images.amax() - images.amin())
    row = _figures(setting, lambda: clahe(unit, 2.0, (8, 8), bins, "batched"), batch, images.nbytes)
    if bins == 256:
        theirs = milliseconds(lambda: equalize_clahe(unit, 2.0, (8, 8)), setting.device, _seconds(setting), most=5)
        row |= {"Kornia ms": theirs, "times Kornia": theirs / row["ms"]}
    if not (setting.full and bins == 256):
        return row
    limits = torch.full((batch,), 2.0)
    run = Recorded(lambda given, drawn: (clahe(given[0], drawn[0], (8, 8), bins, "batched"),), setting.device)
    for _ in range(WARM_UP + 1):
        run([unit], [limits])
    taken = milliseconds(lambda: run([unit], [limits]), setting.device, _seconds(setting))
    row |= {"recorded ms": taken, "recorded images/s": 1e3 * batch / taken}
    return row | {"goal": f">= {CLAHE_GOAL} images/s", "met": row["recorded images/s"] >= CLAHE_GOAL}


def _torchvision(setting: Setting, batch: int, size: int) -> dict:
    try:
        from torchvision.transforms import v2
    except ImportError:
        return {"skipped": "torchvision is not installed"}
    images, masks = micrographs(batch, size, setting.device)
    ours = Augmentation([RandomWarp(0, 0, p_affine=0, p_elastic=1)])
    theirs = v2.ElasticTransform(alpha=50.0)  # one deformation for the whole batch
    own = milliseconds(lambda: ours(images, masks), setting.device, _seconds(setting))
    other = milliseconds(lambda: theirs(images), setting.device, _seconds(setting), most=5)
    return {"ms": own, "torchvision ms": other, "times torchvision": other / own}


def _compiled(setting: Setting, task: str, batch: int, size: int) -> dict:
    images, masks = micrographs(batch, size, setting.device)
    ours = recipe(task)
    params = ours.sample(images.shape)
    params = with_values(params, [value.to(setting.device) for value in drawn_values(params)])
    eager = milliseconds(lambda: ours(images, masks, params=params), setting.device, _seconds(setting))
    compiled = torch.compile(ours, fullgraph=True)
    taken = milliseconds(lambda: compiled(images, masks, params=params), setting.device, _seconds(setting))
    row = {"eager ms": eager, "compiled ms": taken, "images/s": 1e3 * batch / taken}
    torch.cuda.set_sync_debug_mode("error")
    try:
        compiled(images, masks, params=params)
    except RuntimeError as error:
        return row | {"waits": str(error)[:120]}
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return row | {"waits": "none"}
