import numpy as np
import pytest
import tifffile

from segexp import synthesis
from segexp.errors import InputError
from segexp.export import kinds as export
from segexp.inference import kinds
from segexp.pretrained import NAMES
from tests.test_cli import run


def made_up(rng, means, count=200):
    return {name: rng.normal(mean, 1.0, (count, 3)) for name, mean in zip(NAMES, means, strict=True)}


def test_distances_are_those_of_the_shrunk_covariance():
    numbers = made_up(np.random.default_rng(0), [(0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9)])
    facts = kinds.learned(numbers)
    points = np.array([[0.2, -0.1, 0.3], [8.5, 0.1, 0.0], [4.0, 4.0, 4.0]])
    together = np.concatenate(list(numbers.values()))
    mean, spread = together.mean(0), together.std(0)
    within = np.concatenate([(own - own.mean(0)) / spread for own in numbers.values()])
    precision = np.linalg.inv(0.9 * np.cov(within.T, bias=True) + 0.1 * np.eye(3))
    for point, row in zip(points, kinds.distances(facts, points), strict=True):
        for own, found in zip(numbers.values(), row, strict=True):
            away = (point - mean) / spread - (own.mean(0) - mean) / spread
            assert found == pytest.approx(away @ precision @ away, rel=1e-6)
    assert list(kinds.distances(facts, points).argmin(1)[:2]) == [0, 1]
    assert (kinds.distances(facts, together).min(1) <= facts["limit"]).mean() == pytest.approx(0.98, abs=0.005)


@pytest.mark.parametrize(
    ("task", "limits", "expected"),
    [
        ("vesicle", {"style": "giant"}, "vesicle_giant"),
        ("vesicle", {"style": "electron"}, "vesicle_electron"),
        ("vesicle", {"style": ["cells", "field"]}, "vesicle"),
        ("cytoskeleton", {"style": ["network", "aster"]}, "cytoskeleton"),
    ],
)
def test_the_kind_of_generated_images_is_found(task, limits, expected):
    images, _ = synthesis.generate(task, 5, 256, 12, **limits)
    choice = kinds.choose([image[None] for image in images])
    assert choice.name == expected
    assert choice.words().startswith(f"{expected}: nearest for {choice.votes[expected]} of 5 images")
    coloured = [np.repeat(image[None], 3, 0) for image in images]  # the same image in three channels
    assert kinds.choose(coloured).name == expected


def test_images_that_look_like_none_are_refused_and_small_ones_left_out():
    stripes = (np.arange(256) % 2 * 60000).astype(np.uint16)[None, None].repeat(256, 1)
    with pytest.raises(InputError, match="look like none of the models that come with segexp"):
        kinds.choose([stripes])
    with pytest.raises(InputError, match="no image of 32 px a side or more"):
        kinds.choose([np.zeros((1, 20, 20))])


def test_the_command_says_which_it_took(tmp_path, monkeypatch, capsys):
    (tmp_path / "in").mkdir()
    for k, image in enumerate(synthesis.generate("vesicle", 2, 256, 3, style="giant")[0]):
        tifffile.imwrite(tmp_path / "in" / f"{k}.tif", image)
    (tmp_path / "in" / "broken.tif").write_bytes(b"II*\0 not much of a file")
    arguments = ("--input", tmp_path / "in", "--output", tmp_path / "out")
    assert run(monkeypatch, "predict", "--model", "auto", *arguments) == 1  # for the broken file
    assert "model: vesicle_giant: " in capsys.readouterr().out
    assert (tmp_path / "out" / "1_mask.png").is_file()
    refused = run(monkeypatch, "predict", "--model", "auto", "--model", "vesicle", *arguments)
    assert "it cannot be in an ensemble" in refused


def test_the_file_is_made_of_generated_images(tmp_path):
    export.write(tmp_path / "kinds.npz", images=4, size=64, seed=0)
    facts = dict(np.load(tmp_path / "kinds.npz", allow_pickle=False))
    shipped = dict(np.load(kinds.located("vesicle").with_name("kinds.npz"), allow_pickle=False))
    assert {key: value.shape for key, value in facts.items()} == {key: value.shape for key, value in shipped.items()}
    assert facts["centres"].shape == (len(NAMES), 124)


def test_an_image_with_values_that_are_no_numbers_does_not_decide_for_the_others(tmp_path):
    images, _ = synthesis.generate("cytoskeleton", 3, 256, 12, style=["network"])
    broken = images[0].astype(np.float32)
    broken[0, 0] = np.nan
    for number, image in enumerate([broken, *images[1:]]):
        tifffile.imwrite(tmp_path / f"{number}.tif", image)
    choice = kinds.choose_for_files(sorted(tmp_path.iterdir()))
    assert (choice.name, choice.images) == ("cytoskeleton", 2)


def test_the_channel_that_is_predicted_is_the_one_that_is_looked_at(tmp_path):
    lines = synthesis.generate("cytoskeleton", 1, 256, 12, style=["network"])[0][0]
    spots = synthesis.generate("vesicle", 1, 256, 12, style=["field"])[0][0]
    tifffile.imwrite(tmp_path / "a.tif", np.stack([lines, spots]), photometric="minisblack", metadata={"axes": "CYX"})
    found = [kinds.choose_for_files([tmp_path / "a.tif"], "first", channel).name for channel in (1, 2)]
    assert found == ["cytoskeleton", "vesicle"]
