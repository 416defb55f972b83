"""The dock widget in a napari viewer, offscreen."""

import numpy as np
import pytest

from tests.inference.test_predictor import write_model

pytest.importorskip("napari", reason="needs the extra napari")
pytest.importorskip("pytestqt", reason="needs pytest-qt")
pytestmark = pytest.mark.slow


@pytest.fixture
def widget(qapp, tmp_path):
    """Beside a viewer without a window: that needs no OpenGL."""
    from napari.components import ViewerModel

    from segexp.plugin.widget import SegmentWidget

    write_model(tmp_path / "m.pth")
    made = SegmentWidget(ViewerModel())
    made.model.value = tmp_path / "m.pth"
    return made


def finish(qtbot, widget):
    widget.run()
    assert not widget.start.enabled
    qtbot.waitUntil(lambda: widget.start.enabled, timeout=60_000)


def spots(*shape):
    return np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16)


def test_labels_and_table(widget, qtbot, tmp_path):
    viewer = widget.viewer
    viewer.add_image(spots(70, 90), name="cell", scale=(65, 65), units=("nm", "nm"), translate=(3, 4))
    widget.probability.value = True
    widget.threshold.value = 0.45  # of this untrained network some pixels reach it and some do not
    finish(qtbot, widget)
    labels, probability = viewer.layers["cell objects"], viewer.layers["cell probability"]
    assert labels.data.shape == probability.data.shape == (70, 90)
    assert tuple(labels.scale) == (65, 65)
    assert tuple(labels.translate) == (3, 4)
    assert labels.units == viewer.layers["cell"].units
    assert 0 < labels.data.max() == len(widget.rows) == len(labels.features)
    assert widget.table.shape[0] == min(len(widget.rows), 1000)
    assert "area_um2" in widget.table.column_headers
    assert widget.table.data[0, 0] == widget.rows[0]["label"]
    assert widget.progress.value == widget.progress.max
    assert widget.rows[0]["area_um2"] / widget.rows[0]["area_px2"] == pytest.approx(0.065**2)
    widget.save(tmp_path / "m.csv")
    assert len((tmp_path / "m.csv").read_text().splitlines()) == len(widget.rows) + 1


def test_a_stack(widget, qtbot):
    widget.viewer.add_image(spots(3, 40, 50), name="stack", scale=(2, 1, 1))
    finish(qtbot, widget)
    labels = widget.viewer.layers["stack objects"]
    assert labels.data.shape == (3, 40, 50)
    assert tuple(labels.scale) == (2, 1, 1)


def test_results_lie_on_a_layer_that_is_turned_and_sheared(widget, qtbot):
    affine = np.array([[1.1, 0.1, 3], [0, 0.9, 4], [0, 0, 1]])
    place = {"scale": (2, 3), "rotate": 30, "shear": [0.2], "translate": (5, 6), "affine": affine}
    layer = widget.viewer.add_image(spots(40, 50), name="cell", **place)
    widget.probability.value = True
    finish(qtbot, widget)
    for name in ("cell objects", "cell probability"):
        for corner in ((0, 0), (39, 49), (0, 49)):
            assert widget.viewer.layers[name].data_to_world(corner) == pytest.approx(layer.data_to_world(corner))


def test_cancel_adds_nothing(widget, qtbot):
    widget.viewer.add_image(spots(400, 64, 64), name="long")
    widget.run()
    qtbot.waitUntil(lambda: widget.progress.value > 0, timeout=60_000)
    widget.cancel()
    qtbot.waitUntil(lambda: widget.start.enabled, timeout=60_000)
    assert widget.status.value == "cancelled"
    assert [layer.name for layer in widget.viewer.layers] == ["long"]
    assert widget.start.enabled


def test_a_missing_model_is_said(widget, qtbot, tmp_path):
    widget.viewer.add_image(spots(40, 50), name="cell")
    widget.model.value = tmp_path / "absent.pth"
    finish(qtbot, widget)
    assert "absent.pth: choose a model file" in widget.status.value
    assert len(widget.viewer.layers) == 1


def test_it_docks_in_a_window(make_napari_viewer, qtbot, tmp_path):
    """In a whole viewer, opened from the menu; needs OpenGL, which Qt's offscreen platform lacks (use xvfb-run)."""
    from vispy import gloo
    from vispy.app import Canvas

    try:
        with Canvas(show=False):
            gloo.gl.glGetParameter(gloo.gl.GL_VERSION)
    except Exception as error:  # whatever the missing driver makes of it
        pytest.skip(f"no OpenGL here ({type(error).__name__})")
    viewer = make_napari_viewer(show=False)
    _, made = viewer.window.add_plugin_dock_widget("segexp", "Segment and measure")
    write_model(tmp_path / "m.pth")
    made.model.value = tmp_path / "m.pth"
    viewer.add_image(spots(70, 90), name="cell")
    assert made.layer.value is viewer.layers["cell"]
    finish(qtbot, made)
    assert viewer.layers["cell objects"].data.shape == (70, 90)


def test_the_manifest_is_valid():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution("segexp")
    assert [widget.display_name for widget in manifest.contributions.widgets] == ["Segment and measure"]
    assert manifest.contributions.commands[0].python_name == "segexp.plugin.widget:SegmentWidget"
