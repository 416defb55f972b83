"""What people read about a model."""

import pytest

from segexp.errors import InputError
from segexp.export import card
from tests.export.test_graph import make_predictor


def test_authors():
    assert card.read_authors("Ada Roe (University of X, Dept Y), Bo Lee") == [
        card.Author("Ada Roe", "University of X, Dept Y"),
        card.Author("Bo Lee"),
    ]


@pytest.mark.parametrize("text", ["", "Ada (", "Ada Roe,,Bo"])
def test_what_names_nobody_is_refused(text):
    with pytest.raises(InputError, match="--authors"):
        card.read_authors(text)


def test_folders_stay_at_home():
    data = {"source": {"train_img_dir": "/home/ada/secret"}, "train": 5, "val": 2, "fingerprint": "f00"}
    predictor = make_predictor("log", data=data)
    text = card.readme(predictor, "Name", {"dice": 0.81239}, [card.Author("Ada")], "MIT")
    assert "secret" not in text
    assert "5 for training, 2 for validation" in text
    assert "| dice | 0.8124 |" in text
    assert "## Validation" in text


def test_generated_images_are_called_so():
    predictor = make_predictor("log", data={"source": "generated", "train": 5, "val": 2, "fingerprint": "f00"})
    assert "generated" in card.training_data(predictor)
    assert "does not say" in card.training_data(make_predictor("log"))
