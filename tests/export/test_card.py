"""What people read about a model."""

import pytest

from segexp.errors import InputError
from segexp.export import card, formats
from segexp.export.graph import Graph
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


@pytest.mark.parametrize(
    ("text", "title", "doi"),
    [
        ("Roe et al.: Vesicles (2026) doi:10.1000/xyz.12", "Roe et al.: Vesicles (2026)", "10.1000/xyz.12"),
        ("Roe 2026, https://doi.org/10.1038/s41592-020-01008-z", "Roe 2026", "10.1038/s41592-020-01008-z"),
        ("10.5281/zenodo.1", "doi:10.5281/zenodo.1", "10.5281/zenodo.1"),
        ("Vesicles (DOI: 10.5281/zenodo.1).", "Vesicles", "10.5281/zenodo.1"),
    ],
)
def test_citations(text, title, doi):
    citation = card.read_citation(text)
    assert (citation.text, citation.doi) == (title, doi)
    text = card.readme(make_predictor("log"), card.Card("N", (card.Author("Ada"),), "MIT", (citation,)))
    assert f"https://doi.org/{doi}" in text
    assert "10.1007/978-3-319-24574-4_28" in text


@pytest.mark.parametrize("text", ["", "Roe 2026", "https://example.org/paper"])
def test_a_citation_needs_a_doi(text):
    with pytest.raises(InputError, match="--cite"):
        card.read_citation(text)


def test_folders_stay_at_home():
    data = {"source": {"train_img_dir": "/home/ada/secret"}, "train": 5, "val": 2, "fingerprint": "f00"}
    predictor = make_predictor("log", data=data)
    text = card.readme(predictor, card.Card("Name", (card.Author("Ada"),), "MIT", scores={"dice": 0.81239}))
    assert "secret" not in text
    assert "5 for training, 2 for validation" in text
    assert "| dice | 0.8124 |" in text
    assert "## Validation" in text


def test_what_makes_a_mask_of_the_probabilities_is_said():
    predictor = make_predictor("log")
    predictor.threshold, predictor.min_size = 0.4, 12
    made = card.Card("Name", (card.Author("Ada"),), "MIT")
    assert "fewer than 12 pixels are dropped" in card.readme(predictor, made)
    assert formats.describe(predictor, Graph(predictor))["segexp.min_size"] == "12"
    predictor.min_size = 0
    assert "dropped" not in card.readme(predictor, made)


def test_generated_images_are_called_so():
    predictor = make_predictor("log", data={"source": "generated", "train": 5, "val": 2, "fingerprint": "f00"})
    assert "generated" in card.training_data(predictor)
    assert "does not say" in card.training_data(make_predictor("log"))
