"""What is suggested: doubtful, unlike what is known, unlike each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segexp.suggestion.ranking import rank

NONE = np.empty((0, 2))


def chosen(disagreement, features, annotated=NONE, count=3):
    picks = rank(np.array(disagreement, float), np.array(features, float), np.array(annotated, float), count)
    return [each.candidate for each in picks]


def test_without_annotation_the_most_doubtful_is_first():
    assert chosen([1, 3, 2], [[0, 0], [5, 0], [0, 5]], count=1) == [1]


def test_near_copies_of_the_hardest_image_are_not_suggested_together():
    features = [[0, 0], [0.01, 0], [0, 0.01], [4, 4], [-4, 4]]
    assert chosen([9, 9, 9, 1, 2], features)[1:] == [4, 3]
    assert chosen([9, 9, 9, 1, 2], features)[0] in (0, 1, 2)


def test_what_is_like_the_annotated_comes_last():
    assert chosen([1, 1, 1], [[0, 0], [3, 0], [8, 0]], [[0, 0.1], [3, 0.5]]) == [2, 1, 0]


def test_distance_and_doubt_are_counted_by_hand():
    features, annotated = np.array([[2.0, 0.0], [6.0, 0.0]]), np.array([[0.0, 0.0]])
    scale = np.sqrt(np.var([2, 6, 0]) + 0.01)
    picks = rank(np.array([4.0, 1.0]), features, annotated, 2)
    assert [each.candidate for each in picks] == [0, 1]
    assert picks[0].distance == pytest.approx(2 / scale / np.sqrt(2))
    assert picks[0].score == pytest.approx(4 * picks[0].distance)
    assert picks[1].distance == pytest.approx(4 / scale / np.sqrt(2)), "the first suggestion is nearer than the other"
    assert [each.nearest for each in picks] == [0, 1]


def test_copies_are_never_suggested():
    assert chosen([5, 5, 5], [[1, 1], [1, 1], [2, 2]], [[2, 2]]) in ([0], [1])
    assert chosen([0, 0], [[1, 1], [2, 2]]) == []


@given(
    arrays(float, 12, elements=st.floats(0.01, 10)),
    arrays(float, (12, 3), elements=st.floats(-5, 5)),
    st.integers(0, 4),
    st.integers(1, 15),
)
def test_fewer_are_the_first_of_more(disagreement, features, annotated, count):
    picks = rank(disagreement[annotated:], features[annotated:], features[:annotated], count)
    more = rank(disagreement[annotated:], features[annotated:], features[:annotated], count + 1)
    assert [each.candidate for each in picks] == [each.candidate for each in more[: len(picks)]]
    assert len({each.candidate for each in more}) == len(more) <= count + 1
