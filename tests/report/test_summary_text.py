"""The sentence of a run and the advice after it."""

import pytest

from segexp.report.summary_text import count, duration, next_step, sentence

FACTS = {
    "model": {"name": "UNet", "settings": {"widths": [16, 32]}},
    "data": {"source": {}, "train": 86, "val": 1},
}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.6, "1 min"), (83.4, "1 min 23 s"), (3600, "1 h"), (7384, "2 h 3 min")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_count():
    assert [count(1, "image"), count(2000, "image"), count(0, "pass", "passes")] == [
        "1 image",
        "2,000 images",
        "0 passes",
    ]


def test_the_sentence_says_what_on_what_how_long_and_how_well():
    summary = {"task": "vesicle", "seconds": 83.4, "epochs": 7, "best": {"dice": 0.9077}}
    assert sentence(summary, FACTS, (0.88, 0.93)) == (
        "A U-Net (16-32) learned to find vesicles from 86 images in 1 min 23 s (7 passes) "
        "and reaches a mean Dice of 0.908 (95 % interval 0.880 to 0.930) on 1 validation image."
    )
    generated = {"data": {"source": "generated", "train": 2, "val": 2}}
    text = sentence({"task": "cytoskeleton"}, generated)
    assert text == "A model learned to find the cytoskeleton from 2 generated images."


def test_the_advice_fits_the_run():
    assert "finds nothing" in next_step({"best": {"recall": 0, "dice": 0}, "epochs": 50}, None, 0)
    assert "Not good enough" in next_step({"best": {"recall": 0.9, "dice": 0.3}, "epochs": 50}, None, 0)
    short = next_step({"best": {"recall": 0.9, "dice": 0.8}, "epochs": 1}, ("a.tif", 0.5), 2)
    assert "about 1 time;" in short
    assert "Look at a.tif first: it scores worst (Dice 0.500). Read the warnings." in short
    assert next_step({"best": {"recall": 0.9, "dice": 0.8}, "epochs": 99}, None, 0).startswith("Use it")
