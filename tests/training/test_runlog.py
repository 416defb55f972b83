"""What a run tells: the CSV, TensorBoard, plain lines and a narrow terminal."""

import csv
import io
import re

from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segexp.training.runlog import RunLog, clock
from segexp.training.state import TrainState

SCORES = {"dice": 0.75, "iou": 0.6}


def tell(folder, console, epochs=(1, 2, 3)):
    with RunLog(folder, "dice", console) as log:
        for epoch in epochs:
            state = TrainState(epoch, 10 * epoch, elapsed=60.0 * epoch)
            log.step(state, epoch / 4, 0.5, 0.001)
            log.epoch(state, epoch / 4, 0.5 / epoch, 0.001, SCORES if epoch != 2 else None)
        log.hyperparameters({"lr": 0.001}, {"best/dice": 0.75})


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
    with RunLog(tmp_path, "dice", Console(file=io.StringIO())) as log:
        log.resume(2)
    tell(tmp_path, Console(file=io.StringIO()), epochs=(3, 4))
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["dice"] for row in rows] == ["0.75", "", "0.75", "0.75"]
    assert rows[1]["train_loss"] == "0.25"


def test_tensorboard_holds_losses_rates_scores_and_hyperparameters(tmp_path):
    tell(tmp_path, Console(file=io.StringIO()))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert {"loss/train_step", "loss/train_epoch", "learning_rate", "val/dice", "best/dice"} <= set(
        events.Tags()["scalars"]
    )
    assert [event.value for event in events.Scalars("val/dice")] == [0.75, 0.75]
    assert any("hparams" in name for name in events.summary_metadata)


def test_a_narrow_terminal_shows_the_bar_on_one_line(tmp_path):
    out = io.StringIO()
    tell(tmp_path, Console(file=out, force_terminal=True, width=60, legacy_windows=False))
    plain = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", out.getvalue())
    bars = [line for line in re.split(r"[\r\n]", plain) if "━" in line and "left" in line]
    assert bars
    assert all(len(bar) <= 60 for bar in bars)
