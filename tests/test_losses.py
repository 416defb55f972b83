"""Losses on cases worked by hand, on one sigmoid channel among others."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segexp.losses import (
    LEAST_SMOOTH,
    CrossEntropy,
    Focal,
    SegmentationLoss,
    SkeletonRecall,
    SoftClDice,
    SoftDice,
    Tversky,
    _binary_skeleton,
    binary_cross_entropy,
    focal_loss,
    skeleton_recall_loss,
    soft_cldice_loss,
    soft_dice_loss,
    soft_skeleton,
    tversky_loss,
)

SURE = 40.0


def logits_of(mask):
    return (mask * 2 - 1) * SURE


def line(row, height=9, width=20):
    mask = torch.zeros(1, 1, height, width)
    mask[..., row, 2:-2] = 1
    return mask


def test_cross_entropy_by_hand():
    logits = torch.tensor([0.0, math.log(3)]).reshape(1, 1, 1, 2)
    targets = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    assert binary_cross_entropy(logits, targets).item() == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_dice_by_hand():
    """Probability one half on two pixels, one of them foreground: (2 * 0.5 + 1) / (1 + 1 + 1)."""
    logits = torch.zeros(1, 1, 1, 2)
    targets = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    assert soft_dice_loss(logits, targets).item() == pytest.approx(1 - 2 / 3)


def test_dice_averages_classes_and_pools_the_batch():
    targets = torch.zeros(2, 2, 1, 8)
    targets[0, 0] = 1
    perfect_then_blind = torch.stack([logits_of(targets[:, 0]), torch.full((2, 1, 8), -SURE)], 1)
    assert soft_dice_loss(perfect_then_blind, targets).item() == pytest.approx(0.0, abs=1e-6)
    targets[1, 1] = 1
    assert soft_dice_loss(perfect_then_blind, targets).item() == pytest.approx((0 + 1 - 1 / 9) / 2)


@pytest.mark.parametrize(
    "loss", [binary_cross_entropy, soft_dice_loss, soft_cldice_loss, skeleton_recall_loss, tversky_loss, focal_loss]
)
def test_perfect_predictions_cost_nothing_and_wrong_ones_do(loss):
    truth = line(4)
    assert loss(logits_of(truth), truth).item() == pytest.approx(0, abs=1e-5)
    assert loss(logits_of(1 - truth), truth).item() > 0.5


@pytest.mark.parametrize(
    "loss", [binary_cross_entropy, soft_dice_loss, soft_cldice_loss, skeleton_recall_loss, tversky_loss, focal_loss]
)
def test_ignored_pixels_count_nowhere(loss):
    truth, other = line(4), line(4)
    truth[..., :2, :] = -1
    logits = logits_of(other)
    wrong = logits.clone()
    wrong[..., :2, :] = SURE
    assert loss(wrong, truth).item() == pytest.approx(loss(logits, truth).item(), abs=1e-6)
    assert loss(logits, torch.full_like(truth, -1.0)).isfinite()


@pytest.mark.parametrize("loss", [binary_cross_entropy, soft_dice_loss])
def test_ignoring_rows_is_cutting_them_off(loss):
    truth, logits = line(4), torch.randn(1, 1, 9, 20)
    known = truth.clone()
    known[..., :2, :] = -1
    assert loss(logits, known).item() == pytest.approx(loss(logits[..., 2:, :], truth[..., 2:, :]).item(), abs=1e-6)


@given(st.integers(0, 2**31), st.floats(0.05, 0.95), st.integers(0, 4), st.integers(1, 30), st.integers(1, 30))
def test_the_skeleton_of_a_mask_is_the_soft_one(seed, share, iterations, height, width):
    mask = torch.rand(2, 2, height, width, generator=torch.Generator().manual_seed(seed)) < share
    assert torch.equal(_binary_skeleton(mask, iterations).float(), soft_skeleton(mask.float(), iterations))


def test_skeleton_of_a_thin_line_is_the_line_and_of_a_bar_its_middle():
    thin = line(4)
    torch.testing.assert_close(soft_skeleton(thin, 2), thin)
    bar = torch.zeros(1, 1, 11, 40)
    bar[..., 3:8, 5:35] = 1
    skeleton = soft_skeleton(bar, 3)
    assert (skeleton[..., 5, 10:30] == 1).all()
    assert skeleton[..., [3, 4, 6, 7], 10:30].sum() == 0


def test_cldice_by_hand_on_one_channel():
    """The left half of a 16-pixel line found: precision 1, recall 8/16 (each smoothed by 1)."""
    truth, half = line(4), line(4)
    half[..., 10:] = 0
    precision, recall = (8 + 1) / (8 + 1), (8 + 1) / (16 + 1)
    expected = 1 - 2 * precision * recall / (precision + recall)
    assert soft_cldice_loss(logits_of(half), truth).item() == pytest.approx(expected, abs=1e-4)


def test_cldice_forgives_width_and_not_gaps():
    truth = line(4)
    wide = torch.nn.functional.max_pool2d(truth, 3, 1, 1)
    gap = truth.clone()
    gap[..., 8:12] = 0
    thick = soft_cldice_loss(logits_of(wide), truth).item()
    assert thick < 0.1
    assert thick < soft_cldice_loss(logits_of(gap), truth).item()
    assert soft_dice_loss(logits_of(wide), truth) > soft_dice_loss(logits_of(gap), truth)


@given(shift=st.integers(1, 3))
def test_cldice_costs_more_beside_the_line_and_its_gradient_leads_back(shift):
    logits, truth = (logits_of(line(4)) / 20).requires_grad_(), line(4 + shift)
    loss = soft_cldice_loss(logits, truth)
    assert loss > soft_cldice_loss(logits, line(4)) + 0.3
    loss.backward()
    assert (logits.grad[truth > 0] < 0).all()
    assert (logits.grad[line(4) > 0] > 0).any()
    assert soft_cldice_loss(logits - 5 * logits.grad, truth) < loss


def test_the_sum_is_weighted_and_in_float32():
    truth = line(4)
    logits = torch.randn(1, 1, 9, 20).to(torch.bfloat16)
    terms = {"ce": (2.0, CrossEntropy()), "dice": (3.0, SoftDice()), "cldice": (0.5, SoftClDice(2))}
    total = SegmentationLoss(terms)(logits, truth)
    parts = 2 * binary_cross_entropy(logits, truth) + 3 * soft_dice_loss(logits, truth)
    torch.testing.assert_close(total, parts + 0.5 * soft_cldice_loss(logits, truth, 2))
    assert total.dtype == torch.float32


@pytest.mark.parametrize(
    "loss", [binary_cross_entropy, soft_dice_loss, soft_cldice_loss, skeleton_recall_loss, tversky_loss, focal_loss]
)
def test_processes_that_add_up_their_sums_have_the_loss_of_the_whole_batch(loss):
    """Two shares of one batch, unevenly annotated: each has the whole loss once it knows the other's sums."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 2, 12, 12, generator=generator)
    targets = (torch.rand(4, 2, 12, 12, generator=generator) > 0.5).float()
    targets[0] = -1
    targets[1, :, :5] = -1
    shares = [(logits[rows], targets[rows]) for rows in (slice(0, 2), slice(2, 4))]
    sums = []
    for share in shares:
        loss(*share, add_up=lambda mine: sums.append(mine) or mine)
    whole = loss(logits, targets)
    for index, share in enumerate(shares):
        torch.testing.assert_close(loss(*share, add_up=lambda mine, other=sums[1 - index]: mine + other), whole)
    assert not torch.isclose(loss(*shares[1]), whole)


def test_tversky_by_hand():
    """Probability one half on three pixels, one of them foreground: 0.5 found, 1 wrong, 0.5 missed."""
    logits = torch.zeros(1, 1, 1, 3)
    targets = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
    expected = 1 - (0.5 + 1) / (0.5 + 0.3 * 1 + 0.7 * 0.5 + 1)
    assert tversky_loss(logits, targets, 0.3, 0.7).item() == pytest.approx(expected)
    halves = tversky_loss(logits, targets, 0.5, 0.5, smooth=0.5)
    assert halves.item() == pytest.approx(soft_dice_loss(logits, targets, smooth=1.0).item())


def test_focal_by_hand():
    """Probability 3/4 for the true class of one pixel and 1/2 for that of another."""
    logits = torch.tensor([math.log(3), 0.0]).reshape(1, 1, 1, 2)
    targets = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    first, second = (1 / 4) ** 2 * math.log(4 / 3), (1 / 2) ** 2 * math.log(2)
    assert focal_loss(logits, targets).item() == pytest.approx((first + second) / 2)
    assert focal_loss(logits, targets, alpha=0.7).item() == pytest.approx((0.7 * first + 0.3 * second) / 2)
    assert focal_loss(logits, targets, gamma=0).item() == pytest.approx(binary_cross_entropy(logits, targets).item())


def test_skeleton_recall_by_hand():
    """A bar of 3 x 7; the columns left of the fifth are predicted at 3/4, the others at 1/4."""
    truth = torch.zeros(1, 1, 7, 11)
    truth[..., 2:5, 2:9] = 1
    skeleton = soft_skeleton(truth, 3)
    logits = torch.full((1, 1, 7, 11), -math.log(3))
    logits[..., :5] = math.log(3)
    left, right = skeleton[..., :5].sum().item(), skeleton[..., 5:].sum().item()
    assert left > 1 < right
    expected = 1 - (0.75 * left + 0.25 * right + 1) / (left + right + 1)
    assert skeleton_recall_loss(logits, truth, tube=0).item() == pytest.approx(expected)
    whole = 1 - (0.75 * 9 + 0.25 * 12 + 1) / (21 + 1)
    assert skeleton_recall_loss(logits, truth, tube=3).item() == pytest.approx(whole)


def test_skeleton_recall_sees_gaps_and_not_what_lies_beside():
    truth = line(4)
    gap, beside = logits_of(truth), logits_of(truth)
    gap[..., 8:11] = -SURE
    beside[..., 7, :] = SURE
    whole = skeleton_recall_loss(logits_of(truth), truth).item()
    assert skeleton_recall_loss(beside, truth).item() == pytest.approx(whole)
    assert skeleton_recall_loss(gap, truth).item() > whole + 0.1


@pytest.mark.parametrize("loss", [tversky_loss, focal_loss])
def test_what_nobody_annotated_counts_nowhere(loss):
    logits, truth = torch.randn(1, 1, 4, 8), line(2, 4, 8)
    unknown = torch.cat([truth, -torch.ones(1, 1, 4, 8)], 3)
    torch.testing.assert_close(loss(torch.cat([logits, torch.randn(1, 1, 4, 8)], 3), unknown), loss(logits, truth))


def test_a_loss_from_elsewhere_learns_nothing_from_what_nobody_annotated():
    logits = torch.randn(1, 1, 1, 6, dtype=torch.bfloat16).requires_grad_()
    targets = torch.tensor([1.0, 0.0, -1.0, 1.0, -1.0, 0.0]).reshape(1, 1, 1, 6)
    value = SegmentationLoss({"elsewhere": (2.0, torch.nn.BCEWithLogitsLoss())})(logits, targets)
    assert value.dtype == torch.float32
    value.backward()
    assert (logits.grad.flatten() != 0).tolist() == [True, True, False, True, False, True]


@pytest.mark.parametrize(
    "make",
    [
        lambda: SoftClDice(iterations=2.5),
        lambda: SoftClDice(iterations=0),
        lambda: SoftDice("much"),
        lambda: SoftDice(smooth=0),
        lambda: SoftClDice(smooth=0),
        lambda: SkeletonRecall(smooth=0),
        lambda: Tversky(smooth=0),
        lambda: SkeletonRecall(tube=0.5),
        lambda: SkeletonRecall(iterations=0),
        lambda: Tversky(false_negatives=-1),
        lambda: Focal(alpha=2),
    ],
)
def test_settings_out_of_range(make):
    with pytest.raises(ValueError, match="expected"):
        make()


@pytest.mark.parametrize("make", [SoftDice, SoftClDice, SkeletonRecall, Tversky])
def test_the_least_smoothing_keeps_a_batch_without_foreground_finite(make):
    nothing = torch.zeros(1, 1, 9, 20)
    logits = torch.full_like(nothing, -200.0).requires_grad_()  # their sigmoid is 0 in float32
    loss = make(smooth=LEAST_SMOOTH)(logits, nothing)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.isfinite().all()
