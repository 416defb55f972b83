"""The page of the models that come with the package: every card, with pictures, in one small file."""

import re
from pathlib import Path

import numpy as np
import pytest

from segexp import synthesis
from segexp.pretrained import NAMES, cards
from segexp.report.models_page import SEED, SIZE, picture
from tests.inference.test_predictor import write_model
from tests.test_cli import run


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path_factory.mktemp("models"))
        write_model(Path("vesicle"))  # a file of the user that has a model's name
        assert run(monkeypatch, "models", "--html", "all.html") == 0
        return Path("all.html").read_text(encoding="utf-8")


def test_every_card_is_there_in_full(page):
    text = page.replace("&#39;", "'")
    for card in cards().values():
        assert all(card[key] in text for key in ("for", "not_for", "recipe", "made", "in_view"))
        for score in card["scores"]:
            assert score["set"] in text
            assert f"{score['interval'][0]:.2f} to {score['interval'][1]:.2f}" in text
    assert re.findall("<h2>(.*)</h2>", page) == list(NAMES)


def test_each_model_is_shown_at_work(page):
    for name in NAMES:
        part = page.split(f'<section id="{name}">')[1].split("</section>")[0]
        pictures = cards()[name]["pictures"]
        assert re.findall("<figcaption>(.*)</figcaption>", part) == [one["shows"] for one in pictures]
        assert part.count("data:image/webp;base64,") == len(pictures) > 0
        found = re.findall(r'<path class="prediction" d="(m[^"]*)"', part)
        assert len(found) == len(pictures)
        assert min(each.count("z") for each in found) >= 4, "several objects, or parts of a network"
        assert 'class="truth"' not in part


def test_it_is_small_and_loads_nothing(page):
    assert len(page.encode()) < 1e6
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert "/work" not in page.split("<script>")[0]


def test_a_picture_is_the_image_of_that_style_with_what_the_model_finds():
    class Left:
        classes = ("vesicle",)

        def probabilities(self, pixels):
            self.pixels = pixels
            return np.full(pixels.shape, 0.5, np.float32)

        def labels(self, probabilities):
            labels = np.zeros(probabilities.shape[1:], np.uint8)
            labels[:, : SIZE // 2] = 1
            return labels

    model = Left()
    shown = picture(model, "vesicle", "two lipids", "giant", 3)
    np.testing.assert_array_equal(model.pixels, synthesis.generate("vesicle", 4, SIZE, SEED, style="giant")[0][3:])
    assert (shown["name"], shown["width"], shown["height"]) == ("two lipids", SIZE, SIZE)
    (path,) = [outline["path"] for outline in shown["outlines"] if outline["kind"] == "prediction"]
    corners = np.cumsum(np.array(re.findall(r"-?\d+", path), int).reshape(-1, 2), axis=0)
    assert corners.min(axis=0).tolist() == [0, 0]
    assert corners.max(axis=0).tolist() == [SIZE, 2 * SIZE], "half pixels"


def test_one_model_alone_and_paths_that_are_refused(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, "models", "vesicle_giant", "--html", tmp_path / "one.htm") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'one.htm'}\n"
    assert re.findall("<h2>(.*)</h2>", (tmp_path / "one.htm").read_text(encoding="utf-8")) == ["vesicle_giant"]
    (tmp_path / "mine.html").write_text("my page")
    assert "not written by segexp" in str(run(monkeypatch, "models", "--html", tmp_path / "mine.html"))
    assert (tmp_path / "mine.html").read_text() == "my page"
    assert "expected a name ending in .html" in str(run(monkeypatch, "models", "--html", tmp_path / "page.txt"))
