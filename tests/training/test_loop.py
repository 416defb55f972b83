"""The loop on a tiny problem: it learns, ends where it should, resumes exactly, and survives what is not finite."""

import itertools

import numpy as np
import pytest
import torch

from segexp.augment import Augmentation, RandomFlip
from segexp.data.dataset import make_sample
from segexp.data.loader import Batch, CropBatches, open_feed
from segexp.data.sampler import CropPlan
from segexp.distributed import ALONE
from segexp.errors import InputError
from segexp.losses import SegmentationLoss
from segexp.models import UNet
from segexp.training import cuda_graph, loop
from segexp.training.learner import Learner
from segexp.training.loop import IN_A_ROW, fit
from segexp.training.prepare import prepare, to_targets
from segexp.training.schedule import Budget, Cosine, Schedule
from segexp.training.state import TrainState
from segexp.training.stop import Stopped, StopRequest

CPU = torch.device("cpu")


def blobs(count=4, size=32):
    rng = np.random.default_rng(0)
    samples = []
    for i in range(count):
        labels = np.zeros((size, size), np.uint8)
        top, left = rng.integers(4, size - 12, 2)
        labels[top : top + 8, left : left + 8] = 1
        pixels = (rng.normal(100, 5, labels.shape) + 80 * labels).astype(np.uint16)[None]
        samples.append(make_sample(str(i), pixels, labels, 1))
    return samples


class Recorder:
    def __init__(self):
        self.steps, self.epochs, self.lines, self.rates = [], [], [], []

    def step(self, state, progress, loss, rate):
        self.steps.append((state.step, progress, loss, rate))

    def epoch(self, state, progress, loss, rate, scores):
        self.epochs.append((state.epoch, loss, scores))
        self.rates.append(rate)

    def info(self, text):
        self.lines.append(text)


class Bench:
    """A run in memory: `saved` holds what was saved, `poison` the positions whose images are made infinite."""

    cuda_graph, ranks, foreground = False, ALONE, 0.5

    def __init__(self, scores=None, poison=(), ema=0.0):
        torch.manual_seed(0)
        model = UNet(1, 1, widths=(4, 8))
        optimizer = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.01, fused=True)
        self.learner = Learner(model, SegmentationLoss(), optimizer, "fp32", 1.0, ema)
        self.source = CropBatches(CropPlan(blobs(), 16, 4, 0.5, 0))
        self.device, self.normalization, self.classes = CPU, "standard", ["blob"]
        self.augment = Augmentation([RandomFlip()])
        self.scores = scores or itertools.repeat({"dice": 0.5})
        self.poison, self.drawn, self.saved, self.kept = set(poison), [], [], None
        self.state, self.stop = TrainState(), StopRequest()

    def batches(self, first, size=None):
        position = list(first)
        for batch in open_feed(self.source, first, CPU):
            self.drawn.append(tuple(position))
            if self.drawn[-1] in self.poison:
                batch = batch._replace(scale=torch.zeros_like(batch.scale))
            position[1] += 1
            if position[1] == self.source.plan.steps:
                position[:] = [position[0] + 1, 0]
            yield batch

    def names(self, position):
        return self.source.plan.names(position)

    def validate(self):
        return next(self.scores)

    def save(self, improved):
        self.saved.append((self.state.plain(), improved))
        self.kept = self.state.plain(), {k: _copied(v) for k, v in self.learner.state().items()}

    def restore(self):
        self.learner.restore(self.kept[1])
        self.state = TrainState(**self.kept[0])


def _copied(value):
    if isinstance(value, torch.Tensor):
        return value.clone()
    return {k: _copied(v) for k, v in value.items()} if isinstance(value, dict) else value


def train(budget, state=None, bench=None, stop=None, validation_seconds=0.0, started=None, recorder=None, **changes):
    bench = bench or Bench()
    bench.state, bench.stop = state or TrainState(), stop or StopRequest()
    recorder = recorder or Recorder()
    settings = {"lr": 0.01, "scheduler": Cosine(0.1), "log_every": 3} | changes
    schedule = Schedule(budget, bench.source.plan.steps, **settings)
    times = {"validation_seconds": validation_seconds, "started": started}
    fit(bench, recorder, schedule, **times)
    return bench, bench.state, recorder


def same_weights(one, other):
    pairs = zip(one.learner.model.state_dict().values(), other.learner.model.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_learns():
    _, state, recorder = train(Budget(steps=60))
    assert state.step == 60
    assert recorder.epochs[-1][1] < 0.7 * recorder.epochs[0][1]


def test_the_rate_rises_and_ends_at_zero_after_the_last_step():
    _, _, recorder = train(Budget(steps=20))
    rates = [rate for *_, rate in recorder.steps]
    assert len(rates) == 20
    assert max(rates) == pytest.approx(0.01)
    assert rates.index(max(rates)) == 2
    assert 0 < rates[-1] < 0.001


def test_losses_are_read_on_logging_steps_and_at_the_end_of_an_epoch_only():
    _, _, recorder = train(Budget(steps=8), log_every=3)
    assert [loss is not None for _, _, loss, _ in recorder.steps] == [
        False,
        False,
        True,
        True,
        False,
        True,
        False,
        True,
    ]


def test_the_loss_of_an_epoch_is_the_mean_of_its_steps():
    _, _, recorder = train(Budget(steps=4), log_every=1)
    assert recorder.epochs[0][1] == pytest.approx(np.mean([loss for _, _, loss, _ in recorder.steps]))


def test_the_loss_of_an_epoch_leaves_out_steps_that_were_skipped():
    _, _, recorder = train(Budget(steps=8), bench=Bench(poison=[(1, 1)]), log_every=1)
    losses = [loss for _, _, loss, _ in recorder.steps[4:]]
    assert np.isnan(losses[1])
    assert recorder.epochs[1][1] == pytest.approx(np.nanmean(losses))


def test_the_loss_of_an_epoch_all_of_whose_steps_were_skipped_is_that_of_the_one_before():
    _, state, recorder = train(Budget(steps=8), bench=Bench(poison=[(1, step) for step in range(4)]))
    assert state.skipped == 4
    assert recorder.epochs[1][1] == recorder.epochs[0][1] > 0


def test_time_ends_it_with_a_last_validation(monkeypatch):
    bench = Bench()
    clock = Clock(bench, monkeypatch)
    _, state, recorder = train(Budget(seconds=20.0), bench=bench, validate_every=10**6)
    assert 19 - loop.ENDING <= state.step <= 20 - loop.ENDING  # the rest is kept back for writing the results
    assert clock.now - 100 == state.step
    assert recorder.epochs[-1][2] is not None
    assert all(scores is None for *_, scores in recorder.epochs[:-1])


class Clock:
    """In place of the module `time`: a step takes a second, and so do `seconds` what else is given."""

    def __init__(self, bench, monkeypatch, **seconds):
        self.now = 100.0
        for name, each in {"validate": 0.0, "save": 0.0, **seconds}.items():
            self.slow(bench, name, each)
        batches = bench.batches

        def timed(first, size=None):
            for batch in batches(first, size):
                self.now += 1.0
                yield batch

        bench.batches = timed
        monkeypatch.setattr(loop, "time", self)

    def slow(self, bench, name, seconds):
        function = getattr(bench, name)

        def timed(*arguments):
            self.now += seconds(*arguments) if callable(seconds) else seconds
            return function(*arguments)

        setattr(bench, name, timed)

    def monotonic(self):
        return self.now


def test_a_limit_that_falls_into_a_validation_adds_no_epoch_without_a_step(monkeypatch):
    bench = Bench(scores=iter([{"dice": 0.5}]))  # a second validation would find no scores
    Clock(bench, monkeypatch, validate=30.0)
    _, state, recorder = train(Budget(seconds=20), bench=bench)
    assert [epoch for epoch, *_ in recorder.epochs] == [1]
    assert (state.epoch, state.step, state.best) == (1, 4, {"dice": 0.5, "epoch": 1})
    assert bench.saved[-1] == (state.plain(), False)
    assert state.elapsed >= 30


def test_an_epoch_without_a_step_that_was_not_validated_tells_the_loss_before(monkeypatch):
    bench = Bench(scores=iter([{"dice": 0.5}]))
    Clock(bench, monkeypatch, save=lambda improved: 30.0 * (bench.state.epoch == 1))
    _, state, recorder = train(Budget(seconds=20), bench=bench, validate_every=10**6)
    assert [(epoch, scores) for epoch, _, scores in recorder.epochs] == [(1, None), (2, {"dice": 0.5})]
    assert recorder.epochs[1][1] == recorder.epochs[0][1] > 0
    assert recorder.rates[1] == recorder.rates[0] > 0
    assert (state.step, state.best["epoch"]) == (4, 2)


def test_processes_agree_on_the_time_of_a_validation_before_the_first_step(monkeypatch):
    """One process took 0.25 s for it and another 9 s: half of the 20 s are left to both."""
    bench = Bench()
    clock = Clock(bench, monkeypatch)
    others = {(0.25,): [9.0]}
    monkeypatch.setattr(loop, "agree", lambda ranks, *numbers: others.get(numbers, list(numbers)))
    _, _, recorder = train(
        Budget(seconds=20), bench=bench, started=clock.now - 5.0, validation_seconds=0.25, validate_every=10**6
    )
    assert recorder.steps[0][1] == pytest.approx(5.0 / 10.0)
    assert len(recorder.steps) < 6


def test_the_best_model_is_the_latest_of_the_best():
    bench = Bench(scores=iter([{"dice": d} for d in (0.1, 0.5, 0.5, 0.2)]))
    _, state, _ = train(Budget(steps=16), bench=bench)
    assert [improved for saved, improved in bench.saved if saved["step"]] == [True, True, True, False]
    assert state.best == {"dice": 0.5, "epoch": 3}
    assert state.stale == 1


def test_patience():
    bench = Bench(scores=iter([{"dice": d} for d in (0.5, 0.4, 0.4, 0.9)]))
    _, state, _ = train(Budget(steps=1000), bench=bench, patience=2)
    assert state.epoch == 3


class SignalAfter(StopRequest):
    """Asks to stop once it was looked at so often."""

    def __init__(self, looks):
        self.looks = looks

    @property
    def number(self):
        self.looks -= 1
        return 15 if self.looks < 0 else 0


@pytest.mark.parametrize("looks", [0, 1, 2, 5, 6, 9, 19])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_stopped_anywhere_goes_on_as_if_it_never_had(looks, ema):
    poison = [(1, 1)]  # skipped
    whole, _, told = train(Budget(steps=16), bench=Bench(ema=ema, poison=poison))
    part = Bench(ema=ema, poison=poison)
    with pytest.raises(Stopped) as stopped:
        train(Budget(steps=16), bench=part, stop=SignalAfter(looks))
    assert stopped.value.number == 15
    fresh = Bench(ema=ema, poison=poison)
    for parameter in fresh.learner.model.parameters():
        torch.nn.init.zeros_(parameter)
    fresh.kept = part.kept
    fresh.restore()
    _, state, rest = train(Budget(steps=16), state=fresh.state, bench=fresh)
    assert state.step == 16
    assert same_weights(whole, fresh)
    if ema:
        averages = (bench.learner.average.state_dict().values() for bench in (whole, fresh))
        assert all(torch.equal(a, b) for a, b in zip(*averages, strict=True))
    assert rest.epochs == told.epochs[-len(rest.epochs) :]
    assert len(rest.epochs) >= 1


def test_every_step_augments_differently_and_the_same_again_in_another_run():
    draws = []
    for _ in range(2):
        bench = Bench()
        numbers = []

        class Draws(RandomFlip):
            def generate_parameters(self, batch_shape, numbers=numbers):
                numbers.append(float(torch.rand(())))
                return super().generate_parameters(batch_shape)

        bench.augment = Augmentation([Draws()])
        train(Budget(steps=8), bench=bench)
        draws.append(numbers)
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == 8


def test_a_stop_during_validation_is_saved_before_the_epoch_counts():
    def scores():
        yield {"dice": 0.5}
        raise Stopped(2)

    bench = Bench(scores=scores())
    with pytest.raises(Stopped):
        train(Budget(steps=16), bench=bench)
    saved = bench.saved[-1][0]
    assert (saved["epoch"], saved["position"], saved["step"]) == (1, 4, 8)
    bench.scores = itertools.repeat({"dice": 0.6})
    bench.restore()
    _, state, _ = train(Budget(steps=16), state=TrainState(**saved), bench=bench)
    assert (state.epoch, state.step) == (4, 16)
    assert state.best["epoch"] == 4


def test_a_finished_run_takes_no_further_step():
    _, state, recorder = train(Budget(steps=5), state=TrainState(epoch=2, step=5, best={"dice": 0.3, "epoch": 1}))
    assert state.step == 5
    assert recorder.steps == []
    assert "nothing is left to train: 5 steps are trained; continue with a larger trainer.steps" in recorder.lines[0]


@pytest.mark.parametrize(
    ("budget", "patience", "setting"),
    [
        (Budget(epochs=8), None, "2 epochs are trained; continue with a larger trainer.epochs"),
        (Budget(seconds=10), None, "9 seconds are used; continue with a larger trainer.max_time"),
        (Budget(steps=100), 3, "3 validations brought no improvement; continue with a larger trainer.patience"),
    ],
)
def test_a_run_that_ended_says_which_setting_would_go_on(budget, patience, setting):
    ended = TrainState(epoch=2, step=8, elapsed=9.0, stale=3, best={"dice": 0.3, "epoch": 1})
    _, state, recorder = train(budget, state=ended, patience=patience)
    assert (state.step, state.epoch, recorder.epochs) == (8, 2, [])
    assert setting in recorder.lines[0]


def test_an_end_without_a_best_model_takes_the_last_one():
    bench = Bench()
    _, state, recorder = train(Budget(steps=5), state=TrainState(epoch=2, step=5), bench=bench)
    assert state.best == {"epoch": 2, "dice": 0.5}
    assert bench.saved[-1][1]
    assert recorder.steps == []


def test_another_batch_size_takes_the_epochs_that_are_left():
    state = TrainState(epoch=2, step=4, best={"dice": 0.3, "epoch": 1})
    state.change_epoch_steps(2, 4)  # the bench has four steps an epoch
    _, state, recorder = train(Budget(epochs=12), state=state)
    assert [epoch for epoch, *_ in recorder.epochs] == [3]
    assert (state.epoch, state.step) == (3, 8)
    assert recorder.steps[0][1] == pytest.approx(8 / 12)


def test_a_step_that_is_not_finite_is_skipped_counted_and_its_files_are_named():
    bench, state, recorder = train(Budget(steps=12), bench=Bench(poison=[(1, 1)]))
    assert state.skipped == 1
    assert state.step == 12
    assert all(torch.isfinite(value).all() for value in bench.learner.model.state_dict().values())
    (line,) = recorder.lines
    assert "epoch 2, step 2 skipped" in line
    assert all(name in line for name in bench.names((1, 1)))
    assert np.isfinite([loss for _, loss, _ in recorder.epochs]).all()


def test_skipped_steps_are_named_by_a_run_that_is_stopped_or_saves_before_it_looks():
    poison = [(0, 1)]
    recorder = Recorder()
    with pytest.raises(Stopped):
        train(Budget(steps=16), bench=Bench(poison=poison), stop=SignalAfter(3), recorder=recorder, log_every=100)
    _, _, saving = train(Budget(steps=4), bench=Bench(poison=poison), log_every=100, save_every=1e-9)
    for lines in (recorder.lines, saving.lines):
        assert ["epoch 1, step 2 skipped" in line for line in lines] == [True]


def test_many_such_steps_in_a_row_lead_back_at_half_the_rate_and_then_to_an_end():
    poison = [(epoch, step) for epoch in range(1, 9) for step in range(4)]
    assert IN_A_ROW == 8
    bench = Bench(poison=poison)
    with pytest.raises(InputError, match=r"training diverges: 32 steps .* trainer\.lr"):
        train(Budget(steps=40), bench=bench)
    good = Bench(poison=poison)
    forgiving = good.restore

    def restore():
        good.poison.clear()
        return forgiving()

    good.restore = restore
    _, state, recorder = train(Budget(steps=40), bench=good)
    assert (state.step, state.retreats, state.rate_scale, state.skipped) == (40, 1, 0.5, 8)
    assert any("at 0.5 of the learning rate" in line for line in recorder.lines)
    assert max(rate for *_, rate in recorder.steps[-20:]) < 0.006


def test_the_loss_scaling_of_fp16_is_not_learned_again_after_going_back():
    bench = Bench(poison=[(epoch, step) for epoch in (1, 2) for step in range(4)])
    bench.learner = Learner(bench.learner.model, SegmentationLoss(), bench.learner.optimizer, "fp16", 1.0)
    scale, back = bench.learner.scaler.get_scale(), bench.restore

    def restore():
        bench.poison.clear()
        return back()

    bench.restore = restore
    _, state, recorder = train(Budget(steps=12), bench=bench)
    assert state.retreats == 1
    assert bench.learner.scaler.get_scale() == scale / 2**IN_A_ROW
    assert any("usual in fp16" in line for line in recorder.lines)


def test_the_state_is_saved_inside_long_epochs():
    bench = Bench()
    train(Budget(steps=4), bench=bench, save_every=1e-9)
    assert [saved["position"] for saved, _ in bench.saved] == [0, 1, 2, 3, 4, 0]


def test_warnings_are_given_once():
    bench = Bench(scores=itertools.repeat({"dice": 0.0, "recall": 0.0}))
    _, state, recorder = train(Budget(steps=40), bench=bench)
    assert sum("only background" in line for line in recorder.lines) == 1
    assert state.warned == ["all background"]


def test_targets():
    labels = torch.tensor([[0, 1, 2, 255]], dtype=torch.uint8).reshape(1, 1, 1, 4)
    assert to_targets(labels, 2)[0, :, 0].tolist() == [[0, 1, 0, -1], [0, 0, 1, -1]]


def test_prepare_normalises_with_the_whole_images_statistics():
    batch = Batch(
        torch.full((2, 1, 4, 4), 300, dtype=torch.uint16),
        torch.ones(2, 1, 4, 4, dtype=torch.uint8),
        torch.tensor([[100.0], [300.0]]),
        torch.tensor([[50.0], [50.0]]),
    )
    images, targets = prepare(batch, CPU, Augmentation([]), "standard", 1)
    assert images[:, 0, 0, 0].tolist() == [4.0, 0.0]
    assert targets.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)


def recording(monkeypatch, fails=False):
    """In place of CUDA graphs: a replay runs the step once more; counts the recordings."""
    made = []

    def capture(function, stream):
        made.append(function)
        if fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        return function

    monkeypatch.setattr(cuda_graph, "capture", capture)
    return made


def recorded_bench(**changes):
    bench = Bench(**changes)
    bench.cuda_graph = True
    return bench


def test_recorded_steps_train_as_usual_ones_do(monkeypatch):
    made = recording(monkeypatch)
    usual, *_ = train(Budget(steps=20))
    bench, state, recorder = train(Budget(steps=20), bench=recorded_bench())
    assert (len(made), state.step, recorder.lines) == (1, 20, [])
    for mine, theirs in zip(bench.learner.model.parameters(), usual.learner.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)  # the rate is a float32 there


def test_a_step_that_cannot_be_recorded_is_taken_as_usual_and_said_once(monkeypatch):
    made = recording(monkeypatch, fails=True)
    usual, *_ = train(Budget(steps=12))
    bench, state, recorder = train(Budget(steps=12), bench=recorded_bench())
    assert (len(made), state.step) == (1, 12)
    assert len(recorder.lines) == 1
    assert "could not be recorded" in recorder.lines[0]
    assert "trainer.cuda_graph=never" in recorder.lines[0]
    for mine, theirs in zip(bench.learner.model.parameters(), usual.learner.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_step_that_cannot_be_recorded_is_not_tried_again_with_larger_crops_or_after_going_back(monkeypatch):
    made = recording(monkeypatch, fails=True)
    bench = recorded_bench(poison=[(epoch, step) for epoch in (2, 3) for step in range(4)])
    restored = bench.restore

    def restore():
        bench.poison.clear()
        return restored()

    bench.restore = restore
    _, state, recorder = train(Budget(steps=24), bench=bench, sizes=((0.2, 8), (0.4, 12)))
    assert (len(made), state.step, state.retreats) == (1, 24, 1)
    assert sum("could not be recorded" in line for line in recorder.lines) == 1


def test_after_going_back_the_step_is_recorded_anew(monkeypatch):
    """The optimiser's state that was restored lies elsewhere."""
    made = recording(monkeypatch)
    bench = recorded_bench(poison=[(epoch, step) for epoch in range(1, 9) for step in range(4)])
    restored = bench.restore

    def restore():
        bench.poison.clear()
        return restored()

    bench.restore = restore
    _, state, _ = train(Budget(steps=40), bench=bench)
    assert (state.step, state.retreats) == (40, 1)
    assert len(made) == 2


def test_crops_grow_while_the_run_goes_on_and_a_resumed_run_draws_the_same():
    sizes = ((0.25, 8), (0.5, 12))

    class Growing(Bench):
        def __init__(self, stop=None):
            super().__init__()
            self.asked, self.sides, self.ends = [], [], stop

        def batches(self, first, size=None):
            self.asked.append((first, size))
            for batch in open_feed(self.source.of_size(size), first, CPU):
                self.sides.append(batch.pixels.shape[-1])
                if self.ends is not None and len(self.sides) == 6:
                    self.ends.number = 15
                yield batch

    bench, _, _ = train(Budget(steps=16), bench=Growing(), sizes=sizes)
    assert bench.sides == [8] * 4 + [12] * 4 + [16] * 8
    steps = bench.source.plan.steps
    assert bench.asked == [((0, 0), 8), (divmod(4, steps), 12), (divmod(8, steps), None)]
    stop = StopRequest()
    stopped = Growing(stop)
    with pytest.raises(Stopped):
        train(Budget(steps=16), bench=stopped, stop=stop, sizes=sizes)
    assert len(stopped.sides) == 6
    stopped.learner.restore(stopped.kept[1])
    train(Budget(steps=16), TrainState(**stopped.kept[0]), stopped, sizes=sizes)
    assert stopped.sides == bench.sides
    assert same_weights(bench, stopped)


def test_validations_without_the_monitored_score_are_told_once_and_the_first_that_has_it_is_the_best():
    scores = iter([{"bce": 0.7}, {"bce": 0.6}, {"bce": 0.5, "dice": 0.2}, {"bce": 0.4}])
    recorder, bench = Recorder(), Bench(scores)
    _, state, _ = train(Budget(epochs=4 * bench.source.plan.steps), bench=bench, recorder=recorder)
    assert [saved["epoch"] for saved, improved in bench.saved if improved] == [3]  # how often else depends on the clock
    assert state.best == {"epoch": 3, "bce": 0.5, "dice": 0.2}
    assert [line for line in recorder.lines if "undefined" in line] == [
        "warning: dice is undefined on every validation image, so this model is not compared with others"
    ]


def test_a_run_whose_monitored_score_is_never_defined_saves_its_state_and_ends_with_what_to_type():
    bench = Bench(itertools.repeat({"bce": 0.7}))
    with pytest.raises(InputError, match=r"task\.monitor=dice: undefined on every .* some of them have$"):
        train(Budget(epochs=2 * bench.source.plan.steps), bench=bench)
    assert bench.saved[-1][0]["epoch"] == 2
    with pytest.raises(InputError, match=r"task\.monitor=recall: .* resume the run with task\.monitor=dice"):
        train(Budget(epochs=2), bench=Bench(itertools.repeat({"bce": 0.7})), monitor="recall")


def test_time_that_ends_in_a_validation_without_the_monitored_score_ends_alike(monkeypatch):
    bench = Bench(itertools.repeat({"bce": 0.7}))
    Clock(bench, monkeypatch, validate=30.0)
    with pytest.raises(InputError, match=r"task\.monitor=dice: undefined"):
        train(Budget(seconds=20), bench=bench)
    assert (bench.state.epoch, bench.saved[-1][0]["epoch"]) == (1, 1)
