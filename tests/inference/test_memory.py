"""Memory does not grow with the image: the same width, eight times the height."""

import subprocess
import sys

import numpy as np
import pytest
import tifffile

from segexp import synthesis
from segexp.inference.outputs import BYTES_A_PIXEL
from tests.inference.test_predictor import write_model

PREDICT = """
import sys
from pathlib import Path
import torch
from benchmarks.memory import peak_memory
from segexp.inference import job, writers
from segexp.io import tiff_writer
from segexp.inference.files import predict_files
from segexp.inference.predictor import load_model
from segexp.inference.sliding_window import Tiling
torch.set_num_threads(1)
for module in (job, writers, tiff_writer):
    module.TILED = 1
predictor = load_model(sys.argv[1], "cpu", "fp32")
(result,) = predict_files(predictor, [Path(sys.argv[2])], Path(sys.argv[3]), tiling=Tiling(256, 32, 2, 2, 2))
assert result.error is None, result.error
print(peak_memory())
"""

MEASURE = """
import sys
from pathlib import Path
import numpy as np
from benchmarks.memory import peak_memory
from segexp.inference.outputs import Outputs, PredictedImage, SAVE, Stack, write_objects
from segexp.measurements import Settings
folder, kind = Path(sys.argv[1]), sys.argv[2]
outputs = Outputs(SAVE, "float32", Settings(kind))
small = np.zeros((1, 64, 64), np.uint8)
small[0, 20:40, 20:24] = 1
write_objects(Path("first.tif"), folder, [PredictedImage(small[0], small[0])], ["a"], outputs, None, Stack())
before = peak_memory()
page = PredictedImage(np.load(folder / "image.npy"), np.load(folder / "mask.npy"))
write_objects(Path("a.tif"), folder, [page], ["a"], outputs, None, Stack())
print((peak_memory() - before) / page.labels.size)
"""


def child(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return float(result.stdout)


def peak(tmp_path, height, width):
    """MiB that predicting a uint16 TIFF of this shape takes at most, in a process of its own."""
    path = tmp_path / f"{height}.tif"
    rows = np.random.default_rng(0).integers(0, 4000, (256, width)).astype(np.uint16)
    tifffile.imwrite(path, np.tile(rows, (height // 256, 1)), rowsperstrip=64)
    found = child(PREDICT, tmp_path / "m.pth", path, tmp_path / "out") / 2**20
    with tifffile.TiffFile(tmp_path / "out" / f"{height}_prob.tif") as file:
        assert file.pages[0].is_tiled
        assert file.pages[0].shape == (height, width)
    return found


def test_memory_does_not_grow_with_the_image(tmp_path):
    """14,336 rows more would be 14 MiB of pixels, 28 MiB of probabilities and 7 MiB of mask."""
    write_model(tmp_path / "m.pth")
    low, high = peak(tmp_path, 2048, 512), peak(tmp_path, 16384, 512)
    print(f"peak of 2048 rows {low:.0f} MiB, of 16384 rows {high:.0f} MiB")
    assert high - low < 14  # 6 to 12 seen; 17 where the pixels are kept whole


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["objects", "filaments"])
def test_objects_take_no_more_memory_than_is_asked_for(tmp_path, kind):
    task = "vesicle" if kind == "objects" else "cytoskeleton"
    images, masks = synthesis.generate(task, 1, 2048, 0)
    np.save(tmp_path / "image.npy", images[0])
    np.save(tmp_path / "mask.npy", masks[0])
    found = child(MEASURE, tmp_path, kind)
    print(f"{kind}: {found:.0f} bytes a pixel, {100 * masks[0].mean():.0f} % foreground")
    assert 10 < found < BYTES_A_PIXEL
