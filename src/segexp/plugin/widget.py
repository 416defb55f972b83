"""napari's dock widget: choose a model, segment the chosen image layer in a thread, get labels and a table.

Open it with Plugins > segexp > Segment and measure.
"""

import copy
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FileEdit,
    FloatSpinBox,
    Label,
    ProgressBar,
    PushButton,
    Table,
)
from napari.layers import Image
from napari.qt.threading import thread_worker
from napari.utils.notifications import show_error, show_warning

from segexp.errors import InputError
from segexp.inference.predictor import Predictor, load_model
from segexp.io import atomic
from segexp.measurements import Row, write_rows
from segexp.plugin.pages import Segmentation, segment

if TYPE_CHECKING:
    from napari.viewer import Viewer

SHOWN = 1000  # rows of the table; the file holds all
_STEPS = 1000  # of the progress bar


class SegmentWidget(Container):
    """The widget; `run` starts a prediction of the chosen layer, `cancel` stops it after its current row of tiles."""

    def __init__(self, napari_viewer: "Viewer"):
        self.viewer = napari_viewer
        self.model = FileEdit(label="model", filter="*.pth", tooltip="A best_<task>_model.pth that segexp trained")
        self.layer = ComboBox(label="image", choices=self._images, nullable=True)
        self.threshold = FloatSpinBox(
            label="threshold", value=0, min=0, max=0.99, step=0.05, tooltip="0: the threshold of the model"
        )
        self.probability = CheckBox(text="add the probabilities as a layer", value=False)
        self.start = PushButton(text="Segment")
        self.stop = PushButton(text="Cancel", enabled=False)
        self.progress = ProgressBar(label="", min=0, max=_STEPS, value=0)
        self.status = Label(value="")
        self.table = Table(label="")
        self.table.read_only = True
        self.save_as = PushButton(text="Save the table ...", enabled=False)
        self.rows: list[Row] = []
        self.worker: Any = None
        self._open: tuple[tuple[Path, float], Predictor] | None = None
        buttons = Container(widgets=[self.start, self.stop], layout="horizontal", labels=False)
        super().__init__(
            widgets=[
                self.model,
                self.layer,
                self.threshold,
                self.probability,
                buttons,
                self.progress,
                self.status,
                self.table,
                self.save_as,
            ]
        )
        self.start.changed.connect(self.run)
        self.stop.changed.connect(self.cancel)
        self.save_as.changed.connect(self._ask_where)
        for event in (self.viewer.layers.events.inserted, self.viewer.layers.events.removed):
            event.connect(self._layers_changed)
        self._layers_changed()

    def run(self) -> None:
        """Start to segment the chosen layer."""
        layer = self.layer.value
        if layer is None:
            show_error("Open an image first.")
            return
        worker = _segment_in_thread(self._predictor, layer, pixel_size(layer), self.threshold.value)
        worker.yielded.connect(self._advance)
        worker.returned.connect(lambda result: self._end(result, layer))
        worker.errored.connect(lambda _: self.status.set_value("failed"))
        worker.aborted.connect(lambda: self.status.set_value("cancelled"))
        worker.finished.connect(self._rest)
        self.worker = worker
        self.start.enabled, self.stop.enabled = False, True
        self.progress.value, self.status.value = 0, "reading the model"
        worker.start()

    def cancel(self) -> None:
        """Stop after the current row of tiles; nothing is added to the viewer."""
        if self.worker is not None:
            self.worker.quit()
            self.status.value = "stopping"

    def save(self, path: Path) -> None:
        """Write the whole table as CSV."""
        try:
            atomic.write_text(path, write_rows(self.rows))  # the dialog has asked before a file is replaced
        except OSError as error:
            show_error(f"{path}: {error.strerror}; the table was not saved")
            return
        self.status.value = f"{len(self.rows)} rows in {path}"

    def _layers_changed(self, _: Any = None) -> None:
        self.layer.reset_choices()
        images = self._images(self.layer)
        if self.layer.value is None and images:
            self.layer.value = images[-1]

    def _images(self, _: Any) -> list[Image]:
        return [layer for layer in self.viewer.layers if isinstance(layer, Image)]

    def _predictor(self) -> Predictor:
        """The chosen model, read again only when the file has changed; called in the thread."""
        path = Path(str(self.model.value))
        if not path.is_file():
            raise InputError(f"{path}: choose a model file (best_<task>_model.pth)")
        key = (path, path.stat().st_mtime)
        if self._open is None or self._open[0] != key:
            self._open = key, load_model(path)
        return self._open[1]

    def _advance(self, share: float) -> None:
        self.progress.value = round(share * _STEPS)
        self.status.value = "segmenting"

    def _end(self, result: Segmentation | str | None, layer: Image) -> None:
        if isinstance(result, str):
            self.status.value = result
            show_error(result)
        elif result is not None:
            self._show(result, layer)

    def _show(self, segmented: Segmentation, layer: Image) -> None:
        features = pd.DataFrame(segmented.rows)
        if len(features):
            features = features.rename(columns={"label": "index"})  # what napari looks a label's row up by
        placed = placement(layer)
        self.viewer.add_labels(segmented.labels, name=f"{layer.name} objects", features=features, **placed)
        if self.probability.value:
            maps = segmented.probabilities
            units = ("pixel",) * (maps.ndim - segmented.labels.ndim) + layer.units  # a class in front
            name = f"{layer.name} probability"
            self.viewer.add_image(maps, name=name, contrast_limits=(0, 1), **placed | {"units": units})
        self.rows = segmented.rows
        self._fill_table(segmented.rows[:SHOWN])
        self.save_as.enabled = bool(segmented.rows)
        more = f" (the table shows {SHOWN})" if len(segmented.rows) > SHOWN else ""
        self.status.value = f"{len(segmented.rows)} objects{more}"
        self.progress.value = _STEPS
        if segmented.remark:
            show_warning(f"{layer.name}: {segmented.remark}")
            self.status.value += f"; {segmented.remark}"
        if segmented.misfits:
            others = len(segmented.misfits) - 1
            more = f" (and {others} more {'pages' if others > 1 else 'page'})" if others else ""
            show_warning(f"{layer.name}: {segmented.misfits[0]}{more}")
            self.status.value += f"; {segmented.misfits[0]}{more}"

    def _fill_table(self, rows: list[Row]) -> None:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        shown = [[_short(row.get(name, "")) for name in columns] for row in rows]
        self.table.value = {"data": shown, "index": range(1, len(rows) + 1), "columns": columns}

    def _rest(self) -> None:
        self.start.enabled, self.stop.enabled = True, False

    def _ask_where(self) -> None:
        from qtpy.QtWidgets import QFileDialog

        name, _ = QFileDialog.getSaveFileName(self.native, "Save the table", "measurements.csv", "CSV (*.csv)")
        if name:
            self.save(Path(name))


@thread_worker
def _segment_in_thread(
    predictor: Callable[[], Predictor], layer: Image, size: float | None, threshold: float
) -> Generator[float, None, Segmentation | str | None]:
    """What is yielded and returned reaches the main thread: what was found, or in words what the user must mend."""
    try:
        model = copy.copy(predictor())  # shares the network; the threshold is this call's own
        model.threshold = threshold or model.threshold
        data = layer.data[0] if layer.multiscale else layer.data
        for step in segment(model, data, layer.rgb, size):
            if isinstance(step, Segmentation):
                return step
            yield step
    except InputError as error:
        return str(error)
    return None


def pixel_size(layer: Image) -> float | None:
    """Side of a pixel in micrometres, or None if the layer has no length unit or its pixels are not square."""
    down, across = (float(value) for value in layer.scale[-2:])
    unit = layer.units[-1]
    if not unit.is_compatible_with("micrometer") or abs(down / across - 1) > 0.01:
        return None
    return across * float((1 * unit).to("micrometer").magnitude)


def placement(layer: Image) -> dict[str, Any]:
    """Scale and translation of a layer, for layers drawn over it; napari leaves additional leading axes unmoved."""
    parts = {name: getattr(layer, name) for name in ("scale", "rotate", "shear", "translate", "units")}
    return parts | {"affine": layer.affine.affine_matrix}


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value
