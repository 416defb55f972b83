"""The recipes from Kornia's own classes run on standardised images, and are the benchmarks' opponent."""

import pytest
import torch
from benchmarks.opponents import operations, stock_kornia

from segexp import load_augment
from segexp.augment import Augmentation

# Kornia 0.9 moves masks through its elastic deformation without saying align_corners
pytestmark = pytest.mark.filterwarnings("ignore:Default grid_sample and affine_grid:UserWarning")


@pytest.mark.parametrize("task", ["vesicle", "cytoskeleton"])
def test_they_give_numbers_and_move_masks_with_images(task):
    augment = load_augment(f"{task}_kornia")
    assert isinstance(augment, Augmentation)
    torch.manual_seed(0)
    images = torch.randn(6, 1, 64, 64) * 2
    masks = (images > 0).float()
    changed, moved = augment(images, masks)
    assert changed.shape == images.shape
    assert torch.isfinite(changed).all()
    assert not torch.equal(moved, masks)
    assert set(moved.unique().tolist()) <= {0.0, 1.0}


def test_values_beyond_four_deviations_are_clamped_as_the_file_says():
    augment = load_augment("cytoskeleton_kornia")
    images = torch.full((2, 1, 64, 64), 30.0)
    changed, _ = augment(images, torch.zeros(2, 1, 64, 64))
    assert changed.max() <= 4.001


def test_the_opponent_is_read_from_the_same_files():
    names = [node["_target_"].rpartition(".")[2] for node in operations("cytoskeleton")]
    assert names[-5:] == ["RandomElasticTransform", "RandomClahe", "RandomGamma", "RandomBrightness", "RandomContrast"]
    images = torch.rand(2, 1, 64, 64)
    assert len(stock_kornia("vesicle")(images, (images > 0.5).float())) == 2
