"""Compares the time of a prediction with that of the network alone on the same tiles.

    python benchmarks/predict.py [--size 3000] [--rounds 5] [--widths 16,32,64,128] [--shrink 2] [--threads 2]

Each round times in turn: the network alone on all tiles, which were cut and normalised before;
`Predictor.probabilities`, from raw pixels in memory to blended probabilities in memory; and `predict_files`, from a
compressed 16-bit TIFF to mask and probability files. The script prints seconds per megapixel of the image, and the
medians of the ratios within a round, in wall-clock time and in processor time (which other programs disturb less). The
network alone is as it was trained; the others have their batch norms folded. Freed memory is kept, as the command does
on a CPU. The goal is 1.10 times the network alone. The peak memory printed is that of the whole benchmark.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
import torch
from memory import peak_memory

from segexp import synthesis
from segexp.data.normalization import compress, standardize
from segexp.device import autocast, choose_device, choose_precision, keep_freed_memory
from segexp.inference.files import predict_files
from segexp.inference.predictor import Predictor
from segexp.inference.row_reader import ArrayRows
from segexp.inference.sliding_window import lay_tiles, reflected
from segexp.inference.statistics import row_statistics
from segexp.models import UNet


def cut(predictor: Predictor, pixels: np.ndarray) -> list[torch.Tensor]:
    """Return the normalised tiles (1, 1, h, w) that a prediction of `pixels` (1, H, W) passes to the network."""
    tiling = predictor.tiling()
    offset, scale = (torch.from_numpy(a)[None] for a in row_statistics(ArrayRows(pixels), predictor.normalization))
    down, across = (lay_tiles(length, tiling) for length in pixels.shape[1:])
    rows, columns = (reflected(-axis.before, axis.extended - axis.before, axis.length) for axis in (down, across))
    tiles = []
    for y in down.starts:
        for x in across.starts:
            raw = pixels[:, rows[y : y + down.tile][:, None], columns[x : x + across.tile]]
            tile = compress(standardize(torch.from_numpy(raw)[None], offset, scale), predictor.normalization)
            tiles.append(tile.to(predictor.device).contiguous(memory_format=torch.channels_last))
    return tiles


def bare(predictor: Predictor, tiles: list[torch.Tensor]) -> None:
    """Run only the network."""
    with torch.inference_mode(), autocast(predictor.device, predictor.precision):
        for tile in tiles:
            predictor.model(tile)
    if predictor.device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--widths", default="16,32,64,128")
    parser.add_argument("--shrink", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)[0]
    torch.manual_seed(0)
    if device.type == "cpu":
        keep_freed_memory()
    widths, precision = [int(width) for width in options.widths.split(",")], choose_precision("auto", device)[0]
    model = UNet(1, 1, widths=widths, shrink=options.shrink).eval()
    predictor = Predictor(model, "log", ["vesicle"], device=device, precision=precision, finished=True)
    pixels = synthesis.generate("vesicle", 1, options.size, 0)[0]
    tiles = cut(predictor, pixels)
    tiling = predictor.tiling()
    share = sum(tile.numel() for tile in tiles) / pixels.size
    print(
        f"{options.size}x{options.size} uint16, widths {options.widths}, {device}, {predictor.precision}, "
        f"{options.threads} threads: {len(tiles)} tiles of {tiles[0].shape[2]}x{tiles[0].shape[3]}, overlap "
        f"{tiling.overlap}, {share:.2f} times the image's pixels"
    )
    megapixels = pixels.size / 1e6
    times: dict[str, list[tuple[float, float]]] = {"bare network": [], "array to array": [], "file to files": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.tif"
        tifffile.imwrite(path, pixels[0], tile=(512, 512), compression="zlib")
        jobs = {
            "bare network": lambda: bare(predictor, tiles),
            "array to array": lambda: predictor.probabilities(pixels),
            "file to files": lambda: list(predict_files(predictor, [path], Path(folder) / "out")),
        }
        bare(predictor, tiles[:2])
        for _ in range(options.rounds):
            for name, job in jobs.items():
                start, cpu = time.perf_counter(), time.process_time()
                job()
                taken = time.perf_counter() - start, time.process_time() - cpu
                times[name].append((taken[0] / megapixels, taken[1] / megapixels))
    for name, rounds in times.items():
        pairs = list(zip(rounds, times["bare network"], strict=True))
        clock, processor = (statistics.median(a[i] / b[i] for a, b in pairs) for i in (0, 1))
        seconds, work = (statistics.median(one[i] for one in rounds) for i in (0, 1))
        print(
            f"{name:15s} {seconds:.3f} s a megapixel, {clock:.3f} times the bare network; "
            f"processor {work:.3f} s, {processor:.3f} times"
        )
    print(f"peak memory {peak_memory() / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
