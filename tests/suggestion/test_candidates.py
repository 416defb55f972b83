"""Candidates: regions that tile an image, and the disagreement of its answers."""

import numpy as np
import pytest
import tifffile

from segexp.errors import InputError
from segexp.inference.predictor import load_model
from segexp.inference.row_reader import ArrayRows
from segexp.suggestion.candidates import Part, annotated_files, describe_annotated, edges, scan
from tests.inference.test_predictor import write_model


@pytest.fixture
def predictor(tmp_path):
    write_model(tmp_path / "m.pth")
    return load_model(tmp_path / "m.pth", "cpu", tta=True)


def pixels(seed, shape):
    return np.random.default_rng(seed).integers(0, 4000, shape).astype(np.uint16)


def whole(predictor, image):
    bands = list(predictor.disagreement(ArrayRows(image[None])))
    return np.concatenate([band[1] for band in bands], axis=1), np.concatenate([band[2] for band in bands])


def binary_entropy(p):
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


def test_disagreement_is_the_mutual_information_of_answer_and_turn(predictor):
    image = pixels(1, (64, 64))
    mean, bits = whole(predictor, image)
    predictor.tta = False
    tiling = predictor.tiling()
    answers = []
    for flip in (False, True):
        for turns in range(4):
            turned = np.rot90(image, turns)
            turned = turned[:, ::-1] if flip else turned
            answer = predictor.probabilities(np.ascontiguousarray(turned)[None], tiling.tile)[0]
            answers.append(np.rot90(answer[:, ::-1] if flip else answer, -turns))
    expected = binary_entropy(np.mean(answers, axis=0)) - np.mean([binary_entropy(each) for each in answers], axis=0)
    np.testing.assert_allclose(mean[0], np.mean(answers, axis=0), atol=1e-5)
    np.testing.assert_allclose(bits, expected, atol=2e-6)
    assert bits.max() > 1e-5, "the turns of this network agree, so nothing is shown"


def test_one_answer_agrees_with_itself(predictor):
    predictor.tta = False
    _, bits = whole(predictor, pixels(1, (48, 48)))
    assert bits.max() < 1e-5


def test_a_part_is_normalised_as_the_whole(predictor):
    image = pixels(2, (96, 96))
    image[:, 48:] //= 8
    mean, _ = whole(predictor, image)
    rows = ArrayRows(image[None])
    part = np.concatenate([band[1] for band in predictor.disagreement(rows, Part(rows, (0, 0, 96, 48)))], axis=1)
    alone = np.concatenate([band[1] for band in predictor.disagreement(ArrayRows(image[None, :, :48]))], axis=1)
    gap = np.abs(part - mean[:, :, :48])[:, 20:70, 4:20].max()
    assert gap < 1e-3 < np.abs(alone - mean[:, :, :48])[:, 20:70, 4:20].max()


def test_an_image_of_unknown_scale_is_marked_where_the_model_has_a_scale(predictor, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels(1, (64, 64)))
    tifffile.imwrite(tmp_path / "b.tif", pixels(1, (64, 64)), resolution=(1e5, 1e5), resolutionunit="CENTIMETER")

    def unscaled(name, pixel_size=None):
        return [each.unscaled for each in scan(predictor, tmp_path / name, pixel_size=pixel_size)]

    assert unscaled("a.tif") == [False]
    predictor.facts["pixel_size"] = 0.1
    assert unscaled("a.tif") == [True]
    assert unscaled("b.tif") == unscaled("a.tif", 0.1) == [False]


def test_edges_divide_a_side_evenly():
    assert edges(1240, 512).tolist() == [0, 620, 1240]
    assert edges(100, 512).tolist() == [0, 100]
    assert edges(1300, 512).tolist() == [0, 433, 867, 1300]


def test_regions_tile_the_image_and_their_means_are_those_of_its_map(tmp_path, predictor):
    image = pixels(3, (130, 200))
    tifffile.imwrite(tmp_path / "a.tif", image)
    shares = []
    found = scan(predictor, tmp_path / "a.tif", 64, shares.append)
    mean, bits = whole(predictor, image)
    covered = np.zeros(image.shape, int)
    for each in found:
        top, left, height, width = each.region
        window = np.s_[top : top + height, left : left + width]
        covered[window] += 1
        assert each.region_text == f"{top}:{top + height},{left}:{left + width}"
        assert each.disagreement == pytest.approx(bits[window].mean(), rel=1e-5)
        assert each.foreground == pytest.approx((mean[0][window] >= predictor.threshold).mean())
    assert len(found) == 6
    assert (covered == 1).all()
    assert shares[-1] == 1


def test_small_images_and_pages_are_whole(tmp_path, predictor):
    tifffile.imwrite(tmp_path / "a.tif", pixels(3, (2, 64, 90)), imagej=True, metadata={"axes": "ZYX"})
    found = scan(predictor, tmp_path / "a.tif", 64)
    assert [(each.page, each.region, each.region_text) for each in found] == [(1, None, ""), (2, None, "")]
    tifffile.imwrite(tmp_path / "b.tif", pixels(3, (20, 90)))
    with pytest.raises(InputError, match="20x90 pixels are too few"):
        scan(predictor, tmp_path / "b.tif")


def test_regions_are_named_in_pixels_of_the_file(tmp_path, predictor):
    predictor.facts["pixel_size"] = 0.2
    tifffile.imwrite(tmp_path / "a.tif", pixels(3, (256, 512)), resolution=(1e5, 1e5), resolutionunit="CENTIMETER")
    found = scan(predictor, tmp_path / "a.tif", 128)
    assert [each.region for each in found] == [(0, 0, 256, 256), (0, 256, 256, 256)]
    assert [each.box for each in found] == [(0, 0, 128, 128), (0, 128, 128, 128)]


def test_annotated_images_are_found_in_both_layouts(tmp_path, predictor):
    for folder in ("train/img", "val/img", "flat/img"):
        (tmp_path / folder).mkdir(parents=True)
        tifffile.imwrite(tmp_path / folder / f"{folder[0]}.tif", pixels(1, (40, 40)))
    assert describe_annotated(predictor, annotated_files(tmp_path))[1] == ["t.tif", "v.tif"]
    numbers, names = describe_annotated(predictor, annotated_files(tmp_path / "flat"))
    assert (numbers.shape, names) == ((1, 32), ["f.tif"])
    with pytest.raises(InputError, match=r"--annotated .*train/img: holds no images"):
        annotated_files(tmp_path / "train" / "img")


def test_annotated_images_too_small_to_be_described_are_none_and_hidden_files_no_images(tmp_path, predictor):
    (tmp_path / "img").mkdir()
    tifffile.imwrite(tmp_path / "img" / "a.tif", pixels(1, (20, 20)))
    (tmp_path / "img" / "._a.tif").write_bytes(b"of the Finder")
    numbers, names = describe_annotated(predictor, annotated_files(tmp_path))
    assert numbers.shape == (0, 32)
    assert names == []
