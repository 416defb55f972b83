"""The composition: what is kept, draws that follow a generator and can be replayed, and no waiting for the device."""

from collections import Counter

import kornia.augmentation as K
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kornia.augmentation.auto import AutoAugment, RandAugment, TrivialAugment
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import segexp.augment as augment
from segexp.augment import Augmentation


def everything() -> list[torch.nn.Module]:
    return [
        augment.RandomWarp(spacing=16.0, magnitude=(1.0, 6.0)),
        augment.RandomCLAHE(grid=(4, 4)),
        augment.RandomGamma(),
        augment.RandomPhotonNoise(),
        augment.RandomBlur(),
        augment.RandomIllumination(),
        augment.Standardize(),
        augment.RandomBrightnessContrast(),
        augment.RandomSquare(p=0.5),
        augment.RandomExtremeScale(),
    ]


def batch(size: int = 32, count: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, size, size, generator=generator)
    masks = torch.tensor([0, 1, 255], dtype=torch.uint8)[torch.randint(0, 3, images.shape, generator=generator)]
    return images, masks


@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(1, 4),
    channels=st.integers(1, 3),
    height=st.integers(4, 30),
    width=st.integers(4, 30),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 100),
)
def test_shapes_dtypes_and_labels_are_kept(count, channels, height, width, dtype, seed):
    images = torch.randn(count, channels, height, width).to(dtype)
    masks = torch.tensor([0, 1, 255], dtype=torch.uint8)[torch.randint(0, 3, (count, 2, height, width))]
    result, moved = Augmentation(everything())(images, masks, torch.Generator().manual_seed(seed))
    assert (result.shape, result.dtype) == (images.shape, dtype)
    assert (moved.shape, moved.dtype) == (masks.shape, torch.uint8)
    assert torch.isfinite(result).all()
    assert set(moved.unique().tolist()) <= set(masks.unique().tolist())


def test_no_operations_change_nothing():
    images, masks = batch()
    result, moved = Augmentation([])(images, masks)
    assert torch.equal(result, images)
    assert torch.equal(moved, masks)


def test_inputs_are_not_written_to():
    images, masks = batch()
    before = images.clone(), masks.clone()
    for seed in range(5):
        Augmentation(everything())(images, masks, torch.Generator().manual_seed(seed))
    assert torch.equal(images, before[0])
    assert torch.equal(masks, before[1])


def test_a_generator_decides_everything_and_nothing_else_does():
    pipeline = Augmentation([*everything(), K.RandomGaussianNoise(p=0.5), K.RandomAffine(10.0)])
    images, masks = batch()
    torch.manual_seed(1)
    first = pipeline(images, masks, torch.Generator().manual_seed(5))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = pipeline(images, masks, torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is left as it was
    other = pipeline(images, masks, torch.Generator().manual_seed(6))
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_a_generator_moves_on_from_batch_to_batch():
    pipeline, generator = Augmentation([augment.RandomExtremeScale(p=1.0)]), torch.Generator().manual_seed(0)
    factors = [pipeline.sample((4, 1, 8, 8), generator)[0]["factor"] for _ in range(2)]
    assert not torch.equal(*factors)


def test_saved_parameters_replay_the_augmentation():
    pipeline = Augmentation([*everything(), K.RandomHorizontalFlip()])
    images, masks = batch()
    first = pipeline(images, masks)
    saved = pipeline.params
    pipeline(images, masks)
    again = pipeline(images, masks, params=saved)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))


def test_a_batch_of_eight_is_eight_batches_of_one():
    pipeline = Augmentation([*everything(), K.RandomRotation(20.0)])
    images, masks = batch()
    together, moved = pipeline(images, masks, torch.Generator().manual_seed(0))
    params = pipeline.params
    for row in range(8):
        alone = pipeline(images[[row]], masks[[row]], params=pipeline.select(params, [row]))
        scale = together[row].abs().max()
        torch.testing.assert_close(alone[0][0] / scale, together[row] / scale, atol=1e-4, rtol=0)
        assert torch.equal(alone[1][0], moved[row])


def test_dropped_channels_are_those_of_the_sample():
    pipeline = Augmentation([K.RandomChannelDropout(p=1.0)])
    images, masks = torch.ones(4, 3, 8, 8), torch.ones(4, 1, 8, 8)
    together, _ = pipeline(images, masks)
    params = pipeline.params
    for row in range(4):
        alone, _ = pipeline(images[[row]], masks[[row]], params=pipeline.select(params, [row]))
        assert torch.equal(alone[0], together[row])


def test_samples_differ():
    images, masks = batch(count=1)
    result, _ = Augmentation(everything())(images.expand(8, -1, -1, -1), masks.expand(8, -1, -1, -1))
    assert len({float(sample.sum()) for sample in result}) == 8


def test_stock_kornia_geometry_moves_masks_too():
    images, masks = batch()
    pipeline = Augmentation([K.RandomHorizontalFlip(p=1.0), torch.nn.Identity()])
    result, moved = pipeline(images, masks)
    assert torch.equal(result, images.flip(-1))
    assert torch.equal(moved, masks.flip(-1))
    assert moved.dtype == torch.uint8


@pytest.mark.parametrize(
    "policy",
    [
        AutoAugment([[("rotate", 1.0, 9)]]),
        RandAugment(1, 20, policy=[[("translate_x", -0.5, 0.5)]]),
        TrivialAugment(policy=[[("rotate", -30.0, 30.0)]]),
    ],
    ids=lambda policy: type(policy).__name__,
)
def test_kornias_policies_move_masks_too_and_can_be_replayed(policy):
    masks = torch.zeros(4, 1, 64, 64)
    masks[..., 8:24, 8:40] = 1
    images = masks.expand(-1, 3, -1, -1)
    pipeline = Augmentation([policy])
    result, moved = pipeline(images, masks)
    assert not torch.equal(moved, masks)
    assert ((result[:, :1] > 0.5).float() - moved).abs().mean() < 0.005  # bilinear here, nearest there
    assert torch.equal(pipeline(images, masks, params=pipeline.params)[0], result)


def test_every_operation_runs_inside_kornias_own_container():
    images, masks = batch()
    container = K.AugmentationSequential(*everything(), data_keys=["input", "mask"])
    result, moved = container(images, masks)
    again, moved_again = container(images, masks, params=container._params)
    assert (result.shape, moved.shape, moved.dtype) == (images.shape, masks.shape, torch.uint8)
    assert torch.equal(result, again)
    assert torch.equal(moved, moved_again)


def test_an_adopted_operation_can_be_used_again_by_itself():
    # a preview shows the operations one by one
    pipeline = Augmentation([K.RandomVerticalFlip(p=1.0), augment.RandomFlip()])
    images, masks = batch()
    assert torch.equal(Augmentation([pipeline.operations[0]])(images, masks)[1], masks.flip(-2))


def test_errors_say_what_came():
    images, masks = batch()
    with pytest.raises(ValueError, match=r"\(8, 1, 32, 32\).*\(8, 1, 16, 32\)"):
        Augmentation([])(images, masks[:, :, :16])
    with pytest.raises(ValueError, match="expected two"):
        Augmentation([])(images[0], masks[0])
    with pytest.raises(ValueError, match="change the size"):
        Augmentation([K.RandomCrop((16, 16), p=1.0)])(images, masks)
    with pytest.raises(ValueError, match="mix the samples"):
        Augmentation([K.RandomMixUpV2()])
    flip = K.RandomHorizontalFlip()
    for operation in (torch.nn.Sequential(flip), K.PatchSequential(flip, patchwise_apply=False)):
        with pytest.raises(ValueError, match=r"Sequential would move the images but not their masks.*RandomHorizontal"):
            Augmentation([operation])
    spline = K.RandomThinPlateSpline()
    for operation in (spline, K.ImageSequential(K.RandomGamma(), spline)):
        with pytest.raises(ValueError, match=r"RandomThinPlateSpline\(.*does not transform masks"):
            Augmentation([operation])


def test_moving_the_pipeline_leaves_the_draws_on_the_cpu(monkeypatch):
    pipeline = Augmentation([K.RandomGamma(), augment.RandomGamma()])._apply(lambda t: t.to("meta"))
    inner = pipeline.operations[0][0]
    assert inner.device.type == "cpu"
    assert pipeline.sample((2, 1, 8, 8))[1]["gamma"].device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_whole_pipeline_on_a_pretended_cuda_device(fake_cuda, dtype):
    # fake tensors hold no values: an operation that asked the device for one, or left one on the CPU, would raise
    pipeline = Augmentation(everything())
    with fake_cuda() as device:
        images = torch.empty(8, 2, 64, 48, device=device, dtype=dtype)
        masks = torch.empty(8, 1, 64, 48, device=device, dtype=torch.uint8)
        result, moved = pipeline(images, masks, torch.Generator().manual_seed(0))
        assert (result.device.type, result.dtype, result.shape) == ("cuda", dtype, images.shape)
        assert (moved.device.type, moved.dtype, moved.shape) == ("cuda", torch.uint8, masks.shape)


def test_other_modes_on_a_pretended_cuda_device(fake_cuda):
    warp = augment.RandomWarp(p_affine=1, padding="constant", interpolation="bicubic", mask_interpolation="bilinear")
    pipeline = Augmentation([warp, augment.RandomFlip(), augment.RandomCLAHE(bins=65536, restore=False)])
    with fake_cuda() as device:
        images, masks = torch.empty(4, 1, 50, 50, device=device), torch.empty(4, 1, 50, 50, device=device)
        result, moved = pipeline(images, masks)
        assert result.device.type == moved.device.type == "cuda"


class Calls(TorchDispatchMode):
    """Counts the operators that ran, and the copies from the device to the CPU among them."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.names[func.overloadpacket.__name__] += 1
        if isinstance(args[0] if args else None, torch.Tensor) and isinstance(result, torch.Tensor):
            self.names["to the CPU"] += args[0].device.type == "cuda" and result.device.type == "cpu"
        return result


def test_nothing_waits_for_the_device(fake_cuda):
    pipeline = Augmentation(everything())
    with fake_cuda() as device:
        images = torch.empty(8, 1, 64, 64, device=device)
        masks = torch.empty(8, 1, 64, 64, device=device, dtype=torch.uint8)
        with Calls() as calls:
            pipeline(images, masks, torch.Generator().manual_seed(0))
    assert calls.names.total() > 100
    for waits in ("_local_scalar_dense", "nonzero", "item", "is_nonzero", "masked_select", "unique", "to the CPU"):
        assert calls.names[waits] == 0, waits


class Memory(TorchDispatchMode):
    """The most bytes that tensors made under this mode held at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cuda":
                if tensor.untyped_storage()._cdata in given:
                    continue  # a view; of what was there before, maybe
                storage = tensor.untyped_storage()
                self.held[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.held = {key: entry for key, entry in self.held.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.held.values()))
        return result


def test_peak_memory_is_at_most_six_copies_of_the_batch(fake_cuda):
    operations = [
        augment.RandomWarp(),
        augment.RandomCLAHE(),
        augment.Standardize(),
        augment.RandomBrightnessContrast(),
    ]
    pipeline = Augmentation(operations)
    with fake_cuda() as device:
        images = torch.empty(8, 1, 512, 512, device=device)
        masks = torch.empty(8, 1, 512, 512, device=device, dtype=torch.uint8)
        params = pipeline.sample(images.shape)
        with Memory() as memory:
            pipeline(images, masks, params=params)
    copies = memory.peak / (images.nbytes + masks.nbytes)
    assert 2 < copies <= 6


def test_the_count_sees_a_wait():
    with Calls() as calls:
        torch.ones(3).sum().item()
        torch.ones(3).nonzero()
    assert calls.names["_local_scalar_dense"] == 1
    assert calls.names["nonzero"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("operation", everything(), ids=lambda op: type(op).__name__)
def test_compiles_without_a_graph_break(operation):
    # tracing takes the device's route; aot_eager traces as inductor does and needs no C++ compiler
    torch.compiler.reset()
    torch.manual_seed(0)
    images, masks = batch(count=2)
    pipeline = Augmentation([operation])
    params = pipeline.sample(images.shape)
    compiled = torch.compile(pipeline, fullgraph=True, backend="aot_eager")
    result, moved = compiled(images, masks, params=params)
    expected, expected_mask = pipeline(images, masks, params=params)
    torch.testing.assert_close(result, expected, atol=2e-3, rtol=1e-3)
    assert (moved == expected_mask).float().mean() > 0.999


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64, torch.int16, torch.int64])
def test_masks_of_wide_integers_move_as_bytes_do(dtype):
    images = torch.rand(4, 1, 32, 32)
    ids = torch.randint(0, 200, (4, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    operations = Augmentation([augment.RandomFlip(), augment.RandomWarp(p_turn=0.5, p_affine=1.0, p_elastic=0.5)])
    _, expected = operations(images, ids.to(torch.uint8), torch.Generator().manual_seed(1))
    _, moved = operations(images, ids.to(dtype), params=operations.params)
    assert moved.dtype == dtype
    assert torch.equal(moved.to(torch.int64), expected.to(torch.int64))


def test_images_of_integers_are_refused_and_an_empty_batch_comes_back():
    operations = Augmentation([augment.RandomFlip(), augment.RandomWarp(), augment.RandomBlur()])
    with pytest.raises(ValueError, match=r"uint8: expected a floating dtype"):
        operations(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"uint8: expected floats"):
        augment.clahe(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    images, masks = operations(torch.zeros(0, 1, 8, 8), torch.zeros(0, 1, 8, 8, dtype=torch.uint8))
    assert images.shape == masks.shape == (0, 1, 8, 8)
