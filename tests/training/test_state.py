"""Where a run stands when its epochs get another number of steps: at the same place of the same pass."""

import pytest

from segexp.training.state import TrainState


@pytest.mark.parametrize(
    ("state", "before", "now", "position", "passes"),
    [
        (TrainState(epoch=2, step=4), 2, 1, 0, 2.0),  # batch 2 to 4: two passes stay two
        (TrainState(epoch=2, step=4), 2, 4, 0, 2.0),  # batch 2 to 1
        (TrainState(epoch=1, step=15, position=5), 10, 20, 10, 1.5),
        (TrainState(epoch=1, step=15, position=5), 10, 5, 2, 1.4),  # the crops of half a batch are drawn again
        (TrainState(epoch=1, step=10, position=10), 10, 5, 5, 1.0),  # stopped while it was validated
        (TrainState(epoch=1, step=7), 10, 20, 0, 0.7),  # an epoch that a time limit cut short
    ],
)
def test_the_place_in_the_pass_stays(state, before, now, position, passes):
    state.loss_sum = 3.0 * state.position
    state.change_epoch_steps(before, now)
    assert state.position == position
    assert (state.step + state.extra_steps) / now == pytest.approx(passes)
    assert state.loss_sum == pytest.approx(3.0 * position)


def test_the_mean_loss_of_the_steps_that_counted_stays():
    state = TrainState(epoch=1, step=16, position=6, loss_sum=3.0 * 4, position_skipped=2)
    state.change_epoch_steps(10, 20)
    assert state.loss_sum / (state.position - state.position_skipped) == pytest.approx(3.0)


def test_a_state_saved_before_skipped_steps_were_told_apart_is_read():
    before = TrainState(epoch=1, step=16, position=6, loss_sum=18.0).plain()
    del before["position_skipped"]
    assert TrainState(**before).position_skipped == 0


def test_back_and_forth_is_where_it_was():
    state = TrainState(epoch=3, step=36)
    state.change_epoch_steps(12, 6)
    state.change_epoch_steps(6, 12)
    assert (state.position, state.extra_steps, state.step) == (0, 0, 36)
