"""Prediction: shapes, dtypes, invariance to brightness, and a model file that round-trips."""

import dataclasses
import sys

import numpy as np
import pytest
import torch

import segexp
from segexp import checkpoint, synthesis
from segexp.cli.reading import read_as
from segexp.data.normalization import compress, image_statistics, standardize
from segexp.errors import InputError
from segexp.inference.predictor import Predictor, label_classes, what_helps_against_nan
from segexp.inference.row_reader import ArrayRows
from segexp.inference.sliding_window import lay_tiles
from segexp.models import UNet


@pytest.fixture
def predictor():
    torch.manual_seed(0)
    return Predictor(UNet(1, 1, widths=(4, 8)), "log", ["vesicle"])


def write_model(path, classes=("vesicle",), channels=1, seed=0, **facts):
    torch.manual_seed(seed)
    model = UNet(channels, len(classes), widths=(4, 8)).eval()
    content = {
        "model": {"name": "UNet", "settings": model.settings},
        "weights": model.state_dict(),
        "normalization": "standard",
        "classes": list(classes),
        "threshold": 0.5,
        "task": "vesicle",
        **facts,
    }
    checkpoint.save(path, content)
    return model


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64, np.uint32])
def test_any_dtype_and_size(predictor, dtype):
    image = np.random.default_rng(0).integers(0, 100, (37, 51)).astype(dtype)
    probabilities = predictor.predict(image)
    assert probabilities.shape == (37, 51)
    assert probabilities.dtype == np.float32
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1
    np.testing.assert_allclose(probabilities, predictor.predict(image.astype(np.uint8)), atol=1e-5)


@pytest.mark.parametrize("factor", [1e-3, 1, 65000])
def test_a_multiple_of_an_image_gives_the_same_result(predictor, factor):
    image = np.random.default_rng(0).lognormal(3, 1, (40, 40)).astype(np.float32)
    np.testing.assert_allclose(predictor.predict(image * np.float32(factor)), predictor.predict(image), atol=1e-3)


class Overflows(torch.nn.Module):
    """A network whose answer is no number where a pixel is far brighter than the others."""

    multiple = 4
    settings = {"in_channels": 1, "classes": 1, "widths": [4], "kernel_size": 3}  # noqa: RUF012

    def forward(self, images):
        return torch.where(images > 5, torch.nan, images)


HOT = np.full((1, 40, 40), 100, np.uint16)
HOT[0, 20, 20] = 60000


@pytest.mark.parametrize(
    "answer",
    [
        lambda predictor: predictor.predict(HOT[0]),
        lambda predictor: predictor.probabilities(HOT),
        lambda predictor: predictor.together([HOT, HOT]),
        lambda predictor: list(predictor.bands(ArrayRows(HOT))),
        lambda predictor: list(predictor.disagreement(ArrayRows(HOT))),
    ],
)
def test_nan_is_an_error_of_a_finished_model_and_not_of_a_training(answer):
    answer(Predictor(Overflows(), "standard", ["spot"]))
    with pytest.raises(InputError, match="image: the network returns NaN"):
        answer(Predictor(Overflows(), "standard", ["spot"], finished=True))


@pytest.mark.parametrize(
    ("precision", "device", "advice"),
    [
        ("fp32", "cuda", ()),
        ("bf16", "cuda", ()),
        ("bf16", "cpu", ()),
        ("fp16", "cuda", ("--device cpu", "precision='fp32'")),
        ("fp16", "cpu", ("precision='fp32'",)),
    ],
)
def test_another_precision_is_advised_where_it_has_a_wider_range(precision, device, advice):
    text = what_helps_against_nan(precision, torch.device(device))
    assert [part for part in ("--device cpu", "precision='fp32'") if part in text] == list(advice)


def trained(task):
    """A small network trained for a few seconds on generated images, until its answers are no longer grey."""
    torch.manual_seed(0)
    images, masks = synthesis.generate(task, 8, 80, 1)
    offset, scale = zip(*(image_statistics(image[None], "log") for image in images), strict=True)
    raw = torch.from_numpy(images)[:, None]
    inputs = compress(standardize(raw, torch.tensor(np.array(offset)), torch.tensor(np.array(scale))), "log")
    targets = torch.from_numpy(masks)[:, None].float()
    model = UNet(1, 1, widths=(8, 16, 32)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for step in range(100):
        part = slice(4 * (step % 2), 4 * (step % 2) + 4)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(inputs[part]), targets[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Predictor(model, "log", [task])


@pytest.fixture(scope="module", params=["vesicle", "cytoskeleton"])
def learned(request):
    return trained(request.param)


def test_no_seams_in_what_a_trained_model_predicts(learned):
    """Two grids of tiles that share no cut, and no cut at all, agree everywhere to 0.001."""
    image = synthesis.generate(learned.classes[0], 1, (400, 440), 7)[0]
    whole = learned.probabilities(image, tile=512)
    assert whole.max() > 0.5  # what is generated decides how far it gets: 0.59 was seen
    assert whole.min() < 0.1
    tiles = (192, 256)
    cuts = [set(lay_tiles(400, learned.tiling(tile)).starts) for tile in tiles]
    assert cuts[0] & cuts[1] == {0}
    first, second = (learned.probabilities(image, tile=tile) for tile in tiles)
    assert np.abs(first - second).max() <= 0.001
    assert np.abs(first - whole).max() <= 0.001


def test_less_overlap_than_the_network_sees_would_show(learned):
    image = synthesis.generate(learned.classes[0], 1, (400, 440), 7)[0]
    bad = learned.probabilities(image, tile=128, overlap=8)
    assert np.abs(bad - learned.probabilities(image, tile=512)).max() > 0.01


def test_symmetries_make_it_blind_to_direction(learned):
    image = synthesis.generate(learned.classes[0], 1, (88, 120), 7)[0][0]
    plain = learned.predict(image)
    learned.tta = True
    try:
        for turns in range(4):
            for flip in (lambda x: x, np.fliplr):
                expected = flip(np.rot90(learned.predict(image), turns))
                np.testing.assert_allclose(learned.predict(flip(np.rot90(image, turns)).copy()), expected, atol=1e-4)
        assert np.abs(learned.predict(image) - plain).max() > 1e-3
    finally:
        learned.tta = False


def test_weights_that_are_changed_in_a_model_that_was_opened_count(tmp_path):
    for name, seed in (("a.pth", 0), ("b.pth", 1)):
        write_model(tmp_path / name, seed=seed)
    image = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    one, other = (segexp.load_model(tmp_path / name, "cpu", "fp32") for name in ("a.pth", "b.pth"))
    before = one.predict(image)
    one.model.load_state_dict(other.model.state_dict())
    np.testing.assert_array_equal(one.predict(image), other.predict(image))
    assert np.abs(one.predict(image) - before).max() > 1e-3


def test_an_ensemble_is_the_mean_of_its_members(tmp_path):
    for name, seed in (("a.pth", 0), ("b.pth", 1)):
        write_model(tmp_path / name, seed=seed)
    image = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    single = [segexp.load_model(tmp_path / name, "cpu").predict(image) for name in ("a.pth", "b.pth")]
    both = segexp.load_model([tmp_path / "a.pth", tmp_path / "b.pth"], "cpu").predict(image)
    np.testing.assert_allclose(both, (single[0] + single[1]) / 2, atol=1e-6)
    assert np.abs(single[0] - single[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"classes": ("b",)}, "classes"),
        ({"channels": 3}, "in_channels"),
        ({"pixel_size": 0.5}, r"pixel_size 0\.5, but"),
    ],
)
def test_members_of_an_ensemble_must_fit(tmp_path, other, words):
    write_model(tmp_path / "a.pth")
    write_model(tmp_path / "b.pth", **other)
    with pytest.raises(InputError, match=words):
        segexp.load_model([tmp_path / "a.pth", tmp_path / "b.pth"])


def test_an_ensemble_reads_the_same_channel_for_all_its_members(tmp_path):
    for name, reading in (("a", {"channel": 2}), ("b", {"channel": 3}), ("c", {"channel": None})):
        write_model(tmp_path / f"{name}.pth", reading=reading)
    differing, settled = (segexp.load_model([tmp_path / "a.pth", tmp_path / f"{name}.pth"], "cpu") for name in "bc")
    with pytest.raises(InputError, match=r"data\.channel: 2, 3; choose one for all of them with --channel"):
        read_as(differing, None, None)
    read_as(differing, "1", None)
    assert differing.facts["reading"]["channel"] == 1
    read_as(settled, None, None)
    assert settled.facts["reading"]["channel"] == 2


def test_progress_can_stop_a_prediction(predictor):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predictor.predict(np.zeros((40, 40)), progress=stop)


def test_load_model(tmp_path):
    model = write_model(tmp_path / "m.pth")
    loaded = segexp.load_model(tmp_path / "m.pth", device="cpu", precision="fp32")
    image = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    standard = torch.from_numpy((image - image.mean()) / image.std())[None, None]
    extended = torch.nn.functional.pad(standard, (2, 2, 2, 2), mode="reflect")  # one of the network's coarsest pixels
    with torch.no_grad():
        expected = torch.sigmoid(model(extended))[0, 0, 2:-2, 2:-2].numpy()
    np.testing.assert_allclose(loaded.predict(image), expected, atol=1e-5)
    assert loaded.facts["task"] == "vesicle"


def test_several_classes(tmp_path):
    write_model(tmp_path / "m.pth", ("a", "b"), channels=3)
    loaded = segexp.load_model(tmp_path / "m.pth", device="cpu")
    assert loaded.predict(np.zeros((9, 8, 3), np.uint8)).shape == (2, 9, 8)
    probabilities = np.array([[[0.9, 0.2, 0.6]], [[0.1, 0.4, 0.7]]], np.float32)
    assert label_classes(probabilities, 0.5).tolist() == [[1, 0, 2]]


@pytest.mark.parametrize("image", [np.zeros(3), np.zeros((2, 2, 2, 2)), np.full((4, 4), np.nan)])
def test_what_is_no_image_is_refused(predictor, image):
    with pytest.raises(InputError):
        predictor.predict(image)


def test_channels_of_an_array_are_never_mixed_unless_they_are_colours(tmp_path):
    write_model(tmp_path / "plain.pth")
    write_model(tmp_path / "second.pth", reading={"channel": 2})
    plain, second = (segexp.load_model(tmp_path / name, "cpu", "fp32") for name in ("plain.pth", "second.pth"))
    stack = np.random.default_rng(0).integers(0, 4000, (24, 32, 3)).astype(np.uint16)
    for count in (2, 3):
        with pytest.raises(InputError, match=rf"{count} channels.*predict\(image\[\.\.\., 0\]\)"):
            plain.predict(stack[..., :count])
        np.testing.assert_array_equal(second.predict(stack[..., :count]), second.predict(stack[..., 1]))
    np.testing.assert_array_equal(plain.predict(stack[..., :1]), plain.predict(stack[..., 0]))
    write_model(tmp_path / "four.pth", channels=4)
    four = np.concatenate([stack, stack[..., :1]], axis=2) // 16
    many = segexp.load_model(tmp_path / "four.pth", "cpu", "fp32")
    np.testing.assert_array_equal(many.predict(four.astype(np.uint8)), many.predict(four))
    colours = (stack // 16).astype(np.uint8)
    grey = np.rint(colours @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    np.testing.assert_array_equal(plain.predict(colours), plain.predict(grey))


def test_a_small_tile_is_not_larger_than_it_was_asked_to_be(predictor):
    for side in (4, 8, 12, 16, 48, 60):
        tiling = predictor.tiling(side)
        axis = lay_tiles(500, tiling)
        assert axis.tile <= side
        assert len(axis.starts) > 1
        assert tiling.overlap <= side // 3
    usual = predictor.tiling()
    assert predictor.tiling(usual.tile) == usual


def test_predicting_loads_neither_hydra_nor_kornia_nor_scikit_image(tmp_path):
    import subprocess

    write_model(tmp_path / "m.pth")
    code = (
        "import sys, numpy, segexp, segexp.inference.files\n"
        f"segexp.load_model({str(tmp_path / 'm.pth')!r}, 'cpu').predict(numpy.zeros((16, 16)))\n"
        "print([name for name in ('hydra', 'omegaconf', 'kornia', 'skimage') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("tta", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_images_predicted_together_are_predicted_as_each_alone(tmp_path, monkeypatch, batch, tta):
    """By the same tiles: 300 pixels are cut into several here, and images of two shapes take turns."""
    write_model(tmp_path / "m.pth")
    predictor = segexp.load_model(tmp_path / "m.pth", "cpu", "fp32", tta)
    tiling = dataclasses.replace(predictor.tiling(tile=128, overlap=32), batch=batch)
    monkeypatch.setattr(predictor, "tiling", lambda *_: tiling)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 4000 * (k + 1), (1, 90 if k == 3 else 300, 70)).astype(np.uint16) for k in range(5)]
    images[1] = images[1].astype(np.float32) * 1e-3
    together = predictor.together(images)
    for image, maps in zip(images, together, strict=True):
        np.testing.assert_allclose(maps, predictor.probabilities(image), atol=2e-6)
    assert not np.allclose(together[0], together[2], atol=1e-3)
