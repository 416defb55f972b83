"""What a run tells: the CSV, TensorBoard, plain lines and a narrow terminal."""

import csv
import errno
import io
import os
import re
import threading
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import Status

from segexp.training.callbacks import Callback
from segexp.training.loggers.run_log import RunLog, clock
from segexp.training.loggers.tensorboard_log import TensorBoard
from segexp.training.state import TrainState

SCORES = {"dice": 0.75, "iou": 0.6}


def tell(folder, console, epochs=(1, 2, 3)):
    with RunLog(folder, "dice", console, callbacks=[TensorBoard()]) as log:
        log.begin({"trainer.lr": 0.001, "model": "UNet", "task.crop": 64, "widths": [4, 8]}, ["task.crop"])
        for epoch in epochs:
            state = TrainState(epoch, 10 * epoch, elapsed=60.0 * epoch)
            log.step(state, epoch / 4, 0.5, 0.001)
            log.epoch(state, epoch / 4, 0.5 / epoch, 0.001, SCORES if epoch != 2 else None)
        log.best({"epoch": 1, "dice": 0.75, "rare": 0.1})


def test_clock():
    assert [clock(s) for s in (0, 59.6, 61, 3600, 36000)] == ["0:00", "1:00", "1:01", "1:00:00", "10:00:00"]


def test_plain_lines_where_it_is_no_terminal(tmp_path):
    out = io.StringIO()
    tell(tmp_path, Console(file=out, soft_wrap=True))
    lines = out.getvalue().splitlines()
    assert lines[0] == "epoch 1    loss 0.5000  dice 0.7500  1:00, 3:00 left  best"
    assert all("\x1b" not in line for line in lines)
    assert len((tmp_path / "train.log").read_text().splitlines()) == 3


def test_metrics_csv_and_what_a_resumed_run_forgets(tmp_path):
    tell(tmp_path, Console(file=io.StringIO()))
    with RunLog(tmp_path, "dice", Console(file=io.StringIO()), callbacks=[TensorBoard()]) as log:
        log.resume(2)
    tell(tmp_path, Console(file=io.StringIO()), epochs=(3, 4))
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["dice"] for row in rows] == ["0.75", "", "0.75", "0.75"]
    assert rows[1]["train_loss"] == "0.25"


@pytest.mark.parametrize("disk_is_full", [False, True])
def test_an_epoch_that_is_trained_again_stands_once_in_metrics_csv(tmp_path, monkeypatch, disk_is_full):
    """Training goes back to the state of epoch 1 after epoch 3, whose row may not be on the disk yet."""
    with RunLog(tmp_path, "dice", Console(file=io.StringIO())) as log:
        for number, epoch in enumerate((1, 2, 3, 2, 3, 4)):
            with monkeypatch.context() as patch:
                if disk_is_full and number == 2:
                    patch.setattr(Path, "open", full)
                log.epoch(TrainState(epoch, 10 * epoch), epoch / 4, float(number), 0.001, SCORES)
    with (tmp_path / "metrics.csv").open() as file:
        rows = [(row["epoch"], row["train_loss"]) for row in csv.DictReader(file)]
    assert rows == [("1", "0.0"), ("2", "3.0"), ("3", "4.0"), ("4", "5.0")]


def test_tensorboard_holds_losses_rates_scores_and_hyperparameters(tmp_path):
    tell(tmp_path, Console(file=io.StringIO()))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert {"loss/train_step", "loss/train_epoch", "learning_rate", "val/dice", "best/dice"} <= set(
        events.Tags()["scalars"]
    )
    assert [event.value for event in events.Scalars("val/dice")] == [0.75, 0.75]
    assert "best/rare" not in events.Tags()["scalars"]


def test_the_hparams_tab_holds_settings_columns_and_the_end(tmp_path):
    tell(tmp_path / "whole", Console(file=io.StringIO()))
    log = RunLog(tmp_path / "stopped", "cldice", Console(file=io.StringIO()), callbacks=[TensorBoard()])
    log.begin({"trainer.lr": 0.002})
    log.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    with RunLog(tmp_path / "running", "cldice", Console(file=io.StringIO()), callbacks=[TensorBoard()]) as log:
        log.begin({"trainer.lr": 0.003})
        log.callbacks[0].writer.flush()
        (running,) = read_tab(tmp_path / "running")
    (whole,), (stopped,) = read_tab(tmp_path / "whole"), read_tab(tmp_path / "stopped")
    assert whole.settings == {"trainer.lr": 0.001, "model": "UNet", "task.crop": 64, "widths": "[4, 8]"}
    assert whole.order[0] == "task.crop"
    assert whole.columns[0] == "best/dice"
    assert whole.columns[-1] == "val/dice"
    assert stopped.columns[0] == "best/cldice"
    assert [tab.status for tab in (whole, stopped, running)] == ["STATUS_SUCCESS", "STATUS_FAILURE", None]


class Tab(NamedTuple):
    settings: dict
    order: list
    columns: list
    status: str | None


def read_tab(folder):
    """What TensorBoard's own reader finds."""
    events = EventAccumulator(str(folder))
    events.Reload()
    content = events.PluginTagToContent("hparams")
    session = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
    experiment = metadata.parse_experiment_plugin_data(content[metadata.EXPERIMENT_TAG])
    kinds = {"number_value", "string_value", "bool_value"}
    settings = {
        name: getattr(value, (kinds & {field.name for field, _ in value.ListFields()}).pop())
        for name, value in session.hparams.items()
    }
    end = content.get(metadata.SESSION_END_INFO_TAG)
    status = end and Status.Name(metadata.parse_session_end_info_plugin_data(end).status)
    yield Tab(
        settings,
        [info.name for info in experiment.hparam_infos],
        [info.name.tag for info in experiment.metric_infos],
        status,
    )


def test_a_narrow_terminal_shows_the_bar_on_one_line(tmp_path):
    out = io.StringIO()
    tell(tmp_path, Console(file=out, force_terminal=True, width=60, legacy_windows=False))
    plain = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", out.getvalue())
    bars = [line for line in re.split(r"[\r\n]", plain) if "━" in line and "left" in line]
    assert bars
    assert all(len(bar) <= 60 for bar in bars)


def test_rows_that_did_not_fit_on_the_disk_are_written_later(tmp_path, monkeypatch):
    out, state = io.StringIO(), TrainState(1, 10, elapsed=1.0)
    with RunLog(tmp_path, "dice", Console(file=out), callbacks=[TensorBoard()]) as log:
        log.epoch(state, 0.2, 0.5, 0.001, SCORES)
        whole = (tmp_path / "metrics.csv").read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", full)
            log.epoch(TrainState(2, 20, elapsed=2.0), 0.2, 0.4, 0.001, SCORES)
            log.epoch(TrainState(3, 30, elapsed=3.0), 0.2, 0.3, 0.001, SCORES)
        assert (tmp_path / "metrics.csv").read_bytes() == whole
        log.epoch(TrainState(4, 40, elapsed=4.0), 0.2, 0.2, 0.001, SCORES)
    with (tmp_path / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]
    assert out.getvalue().count("warning: metrics.csv of this run is incomplete (No space left on device)") == 1


def full(path, mode="r", *args, **kwargs):
    """`Path.open` on a disk that takes half a line."""
    if mode == "ab":
        with open(path, mode) as file:
            file.write(b"2,20,2")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return open(path, mode, *args, **kwargs)


def test_a_damaged_metrics_csv_keeps_its_whole_rows(tmp_path):
    tell(tmp_path, Console(file=io.StringIO()))
    with (tmp_path / "metrics.csv").open("ab") as file:
        file.write(b"4,40,2\0\0\0")
    with RunLog(tmp_path, "dice", Console(file=io.StringIO()), callbacks=[TensorBoard()]) as log:
        log.resume(9)
    with (tmp_path / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_tensorboard_on_a_full_disk_is_one_warning_and_no_traceback(tmp_path, monkeypatch, capfd):
    out = io.StringIO()
    hook = threading.excepthook
    with RunLog(tmp_path, "dice", Console(file=out, soft_wrap=True), callbacks=[TensorBoard()]) as log:

        def full(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        events = log.callbacks[0].writer._get_file_writer().event_writer
        monkeypatch.setattr(events._async_writer._writer, "write", full)
        for step in range(50):
            log.step(TrainState(0, step), 0.1, 0.5, 0.001)
            log.epoch(TrainState(step, step), 0.1, 0.5, 0.001, None)
    assert out.getvalue().count("warning: TensorBoard's record of this run is incomplete (No space left") == 1
    assert "Traceback" not in "".join(capfd.readouterr())
    assert threading.excepthook is hook


def test_a_full_disk_of_a_callback_is_said_once_and_other_errors_end_the_run(tmp_path):
    class Full(Callback):
        title = "my table"

        def on_epoch(self, state, progress, loss, rate, scores):
            raise OSError(errno.ENOSPC, "No space left on device")

    class Wrong(Callback):
        def on_step(self, state, progress, loss, rate):
            raise KeyError("a bug")

    out, state = io.StringIO(), TrainState(1, 10, elapsed=60.0)
    with RunLog(tmp_path, "dice", Console(file=out, soft_wrap=True), callbacks=[Full()]) as log:
        for _ in range(2):
            log.epoch(state, 0.5, 0.5, 0.1, SCORES)
    assert out.getvalue().count("my table of this run is incomplete (No space left on device); training continues") == 1
    with pytest.raises(KeyError), RunLog(tmp_path, "dice", Console(file=out), callbacks=[Wrong()]) as log:
        log.step(state, 0.5, None, 0.1)


def test_callbacks_are_told_the_whole_run_in_order(tmp_path):
    told = []

    class Told(Callback):
        pass

    for hook in [name for name in dir(Callback) if name.startswith("on_")]:
        setattr(Told, hook, lambda self, *values, hook=hook: told.append((hook, values)))
    with RunLog(tmp_path, "dice", Console(file=io.StringIO()), callbacks=[Told()]) as log:
        log.begin({"a": 1}, ["a"])
        state = TrainState(1, 10, elapsed=60.0)
        log.step(state, 0.25, None, 0.001)
        log.epoch(state, 0.25, 0.5, 0.001, SCORES)
        log.best({"epoch": 1, "dice": 0.75})
    names = ["on_open", "on_settings", "on_step", "on_epoch", "on_best", "on_end"]
    assert [hook for hook, _ in told] == names
    assert told[2][1] == (state, 0.25, None, 0.001)
    assert told[-1][1] == ("FINISHED",)


def test_another_monitored_score_gets_a_column_when_a_run_is_resumed(tmp_path):
    tell(tmp_path, Console(file=io.StringIO()))
    with RunLog(tmp_path, "cldice", Console(file=io.StringIO())) as log:
        log.resume(2)
        log.epoch(TrainState(3, 30), 0.75, 0.1, 0.001, SCORES | {"cldice": 0.4})
        log.epoch(TrainState(4, 40), 1.0, 0.1, 0.001, SCORES)  # undefined this time
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["cldice"] for row in rows] == ["", "", "0.4", ""]
    assert [row["dice"] for row in rows] == ["0.75", "", "0.75", "0.75"]


def test_steps_that_come_again_after_a_kill_stand_once_in_tensorboard(tmp_path):
    for first in (1, 3):  # killed behind step 5, resumed from the state of step 2
        with RunLog(tmp_path, "dice", Console(file=io.StringIO()), callbacks=[TensorBoard()]) as log:
            for step in range(first, 6):
                log.step(TrainState(0, step), 0.1, step / 10, 0.001)
            log.callbacks[0].writer.flush()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/train_step")] == [1, 2, 3, 4, 5]
