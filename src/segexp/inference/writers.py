"""Write the rows of one file's mask and probabilities."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segexp.inference.outputs import Outputs, stored
from segexp.io.tiff_writer import TILED, Size, TiffStream, finishing, hidden_files, write_hidden
from segexp.viz.overlay import encode_png


class Sinks:
    """Mask and probabilities of an image of (pages, H, W), given from top to bottom, page after page.

    Attributes:
        seen: pixels given so far.
        foreground: those of them that are foreground.
    """

    def __init__(
        self,
        output: Path,
        stem: str,
        outputs: Outputs,
        shape: tuple[int, int, int],
        classes: int,
        size: Size | None,
        axis: str = "T",
    ):
        self.shape, self.classes, self.dtype = shape, classes, outputs.prob_dtype
        self.total = self.foreground = 0
        self._mask = self._prob = None
        self._png: list[NDArray[np.uint8]] | None = None
        self._mask_path = output / f"{stem}_mask.tif"
        if "mask" in outputs.save and shape[0] == 1 and shape[1] * shape[2] < TILED:
            self._png, self._mask_path = [], output / f"{stem}_mask.png"
        elif "mask" in outputs.save:
            self._mask = TiffStream(self._mask_path, shape, 1, np.dtype(np.uint8), size, axis)
        if "prob" in outputs.save:
            try:
                dtype = np.dtype(self.dtype)
                self._prob = TiffStream(output / f"{stem}_prob.tif", shape, classes, dtype, size, axis)
            except BaseException:
                self.abandon()
                raise

    @property
    def _streams(self) -> list[TiffStream]:
        return [stream for stream in (self._mask, self._prob) if stream is not None]

    def add(self, probabilities: NDArray[np.float32], labels: NDArray[np.uint8]) -> None:
        """Append rows: (K, rows, W) and (rows, W)."""
        self.total += labels.size
        self.foreground += int(np.count_nonzero(labels))
        mask = labels * np.uint8(255) if self.classes == 1 else labels
        if self._png is not None:
            self._png.append(mask)
        if self._mask is not None:
            self._mask.add(mask)
        if self._prob is not None:
            values = stored(probabilities, self.dtype)
            self._prob.add(values[0] if self.classes == 1 else np.moveaxis(values, 0, 2))

    def finish(self) -> dict[str, Path]:
        """Finish writing; returns the complete files under their hidden names, by their final names."""
        with finishing(self._streams):
            pass
        files = {stream.path.name: stream.hidden for stream in self._streams}
        if self._png is None:
            return files
        with hidden_files(files):
            return files | {self._mask_path.name: write_hidden(self._mask_path, encode_png(np.concatenate(self._png)))}

    def abandon(self) -> None:
        """Stop, and remove all unfinished files."""
        for stream in self._streams:
            stream.abandon()
