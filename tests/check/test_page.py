"""The page is whole in one file, shows what is odd, and escapes whatever a file is called."""

import base64
import itertools
import re
from html.parser import HTMLParser

import cv2
import numpy as np

from segexp.check.dataset import CheckSettings, check
from segexp.check.page import render
from segexp.check.scan import find_folders
from segexp.data.reading import Reading
from tests.check.test_dataset import data as data
from tests.check.test_dataset import scene, write
from tests.test_cli import run


class Tags(HTMLParser):
    """Collects the tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def page(folder):
    report, entries = check("data", find_folders(folder), CheckSettings())
    return render(report, entries, Reading())


def test_pictures_of_what_is_odd_are_inside(data):
    image, mask = scene(0)
    write(data, "val", "other", image, mask, ".png")
    found = Tags(page(data))
    pictures = [attributes for tag, attributes in found.tags if tag == "img"]
    assert len(pictures) == 2 + 3 + 3  # the two that are equal, and a few of each split
    for attributes in pictures:
        assert attributes["alt"]
        encoded = attributes["src"].removeprefix("data:image/jpeg;base64,")
        shown = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR)
        assert shown.shape == (96, 96, 3)
    blue, green, red = (shown[..., channel].astype(int) for channel in range(3))
    assert ((green > red + 60) & (green > blue + 40)).sum() > 50  # the outline
    assert "other.png" in found.text


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs(data):
    text = page(data)
    found = Tags(text)
    assert not {tag for tag, _ in found.tags} & {"script", "link", "iframe", "object", "embed"}
    assert not re.search(r"https?://", text)
    assert any("default-src 'none'" in attributes.get("content", "") for _, attributes in found.tags)


def test_names_are_escaped(data):
    image, mask = scene(0)
    name = "<img src=x onerror=alert(1)>\"'&\x1b[31m"
    write(data, "val", name, image, mask)
    (data / "val" / "img" / "<b>.png").write_bytes(b"")
    found = Tags(page(data))
    assert all("onerror" not in attributes for _, attributes in found.tags)
    assert not [tag for tag, _ in found.tags if tag == "b"]
    assert "<img src=x onerror=alert(1)>\"'&\\x1b[31m" in found.text
    assert "\x1b" not in found.text
    assert "<b>.png" in found.text


def test_headings_table_and_language_serve_a_screen_reader(data):
    tags = Tags(page(data)).tags
    assert ("html", {"lang": "en"}) in tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    scopes = [attributes.get("scope") for tag, attributes in tags if tag == "th"]
    assert set(scopes) == {"col", "row"}


def test_a_file_that_changed_in_between_is_said(data):
    report, entries = check("data", find_folders(data), CheckSettings())
    (data / "train" / "img" / "cell_0.tif").unlink()
    assert "can no longer be read" in render(report, entries, Reading())


def test_odd_shapes_and_float_images_have_pictures(data):
    write(data, "train", "thin", np.arange(700, dtype=np.float32).reshape(1, 700), np.ones((1, 700), bool))
    write(data, "train", "dark", np.full((40, 30), -5e9, np.float32), np.eye(40, 30, dtype=bool))
    assert "thin.tif" in page(data)


def test_html_option(data, monkeypatch, tmp_path):
    target = tmp_path / "deep" / "check.html"
    assert run(monkeypatch, "check", data, "--html", target) == 0
    assert "no faults" in target.read_text()
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    assert "ending in .html" in run(monkeypatch, "check", data, "--html", notes)
    assert notes.read_text() == "mine"
    assert "a folder" in run(monkeypatch, "check", data, "--html", tmp_path)
