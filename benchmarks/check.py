"""Measures the time, processor time and peak memory of `segexp check` on many images.

    python benchmarks/check.py --count 10000 --size 512

The script writes `--count` different 16-bit images (TIFF) with masks (.npy), about 0.8 MB each at 512 px, to a
temporary folder, or to a given folder, where they are kept. The check runs in its own process, which reports its peak
memory.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import tifffile

from segexp import synthesis

CHECK = """
import json, sys, time
from pathlib import Path
from segexp.check.dataset import CheckSettings, check
from segexp.check.scan import find_folders
from benchmarks.memory import peak_memory
before, started, cpu = peak_memory(), time.perf_counter(), time.process_time()
report, _ = check(sys.argv[1], find_folders(Path(sys.argv[1])), CheckSettings(), int(sys.argv[2]) or None)
print(json.dumps({
    "images": sum(split.images for split in report.splits.values()), "faults": len(report.faults),
    "warnings": [warning.kind for warning in report.warnings],
    "seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu,
    "mib_before": before / 2**20, "mib_peak": peak_memory() / 2**20,
}))
"""


def write(folder: Path, count: int, size: int, suffix: str) -> None:
    """Write `count` images, 4 of 5 for training: generated fields, each rotated, shifted and with new noise."""
    images, masks = synthesis.generate("vesicle", 48, size, 0)
    for part in ("train", "val"):
        for kind in ("img", "mask"):
            (folder / part / kind).mkdir(parents=True)

    def one(index: int) -> None:
        rng = np.random.default_rng(index)
        first, second = rng.integers(0, len(images), 2)
        one_shift, other_shift = (tuple(int(value) for value in rng.integers(0, size, 2)) for _ in range(2))
        image = np.roll(images[first], one_shift, (0, 1)) // 2 + np.roll(images[second], other_shift, (0, 1)) // 2
        image = image + rng.integers(0, 64, image.shape, np.uint16)
        mask = np.roll(masks[first], one_shift, (0, 1)) | np.roll(masks[second], other_shift, (0, 1))
        part = folder / ("val" if index % 5 == 0 else "train")
        if suffix == "tif":
            tifffile.imwrite(part / "img" / f"{index:06}.tif", image)
        else:
            cv2.imwrite(str(part / "img" / f"{index:06}.png"), image)
        np.save(part / "mask" / f"{index:06}.npy", mask)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, range(count)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--suffix", choices=["tif", "png"], default="tif")
    parser.add_argument("--workers", type=int, default=0, help="number of threads; default: one per core")
    parser.add_argument("--folder", type=Path, help="keep the images in this folder, and use those that exist")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "data"
        if not folder.exists():
            tick = time.perf_counter()
            write(folder, options.count, options.size, options.suffix)
            print(f"{options.count} images written in {time.perf_counter() - tick:.1f} s", flush=True)
        command = [sys.executable, "-c", CHECK, str(folder), str(options.workers)]
        facts = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    ms = 1000 / facts["images"]
    print(f"{facts['images']} images: {facts['faults']} faults, warnings {facts['warnings']}")
    print(f"{facts['seconds']:.1f} s ({ms * facts['seconds']:.2f} ms an image)")
    print(f"{facts['cpu_seconds']:.1f} s of processor time ({ms * facts['cpu_seconds']:.2f} ms an image)")
    print(f"peak memory {facts['mib_peak']:.0f} MiB ({facts['mib_before']:.0f} MiB before the first image)")
    print(f"cores {os.cpu_count()}, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
