"""Memory does not grow with the image: the same width, eight times the height."""

import subprocess
import sys

import numpy as np
import pytest
import tifffile

from tests.inference.test_predictor import write_model

CODE = """
import resource, sys
from pathlib import Path
from segexp.inference import job, sinks, stream
from segexp.inference.files import predict_files
from segexp.inference.predictor import load_model
from segexp.inference.tiles import Tiling
for module in (job, sinks, stream):
    module.TILED = 1
predictor = load_model(sys.argv[1], "cpu", "fp32")
(result,) = predict_files(predictor, [Path(sys.argv[2])], Path(sys.argv[3]), tiling=Tiling(512, 32, 2, 2))
assert result.error is None, result.error
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(tmp_path, height, width):
    """MiB that predicting a uint16 TIFF of this shape takes at most, in a process of its own."""
    path = tmp_path / f"{height}.tif"
    rows = np.random.default_rng(0).integers(0, 4000, (256, width)).astype(np.uint16)
    tifffile.memmap(path, shape=(height, width), dtype=np.uint16)[:] = np.tile(rows, (height // 256, 1))
    command = [sys.executable, "-c", CODE, tmp_path / "m.pth", path, tmp_path / "out"]
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    with tifffile.TiffFile(tmp_path / "out" / f"{height}_prob.tif") as file:
        assert file.pages[0].is_tiled
        assert file.pages[0].shape == (height, width)
    return int(result.stdout) / 1024


@pytest.mark.slow
def test_memory_does_not_grow_with_the_image(tmp_path):
    """28,672 rows more would be 112 MiB of pixels, 224 MiB of probabilities and 56 MiB of mask."""
    write_model(tmp_path / "m.pth")
    low, high = peak(tmp_path, 4096, 2048), peak(tmp_path, 32768, 2048)
    print(f"peak of 4096 rows {low:.0f} MiB, of 32768 rows {high:.0f} MiB")
    assert high - low < 64
