"""Every kind of picture that people send: digits are read, blank sheets refused, and doubtful ones marked."""

from collections.abc import Sequence

import numpy as np
import pytest

from tests.support.pictures.kinds import KINDS, Kind
from tests.support.pictures.measure import Outcome, outcome_of
from tests.support.pictures.table import MEASURED, markdown
from train.data import Digits
from vision.models.classifier import Classifier

PICTURES = 200
# 98 % are read where nothing else is said. A weaker classifier than usual, which gets some digits wrong as
# MNIST has them, may get these wrong here too, and no more than three beside.
LOWER = {
    "pen of 55 on 280, dark on light",
    "pen of 55 on 280, light on dark",
    "tilted by 15°",
    "pen of 1 on 280, dark on light",
    "pen of 1 on 280, light on dark",
    "tilted by -15°",
    "a pen running dry",
    "hollow",
    "a frame of one pixel",
    "cropped to the ink, 0 % margin",
}
BESIDE = 3 / PICTURES


@pytest.fixture(scope="module")
def classifier(trained_classifier: Classifier) -> Classifier:
    """The model as it is for use, since a weaker one reads fewer pictures."""
    return trained_classifier


@pytest.fixture(scope="module")
def digits(held_out: Digits) -> Digits:
    return Digits(held_out.images[:PICTURES], held_out.labels[:PICTURES])


@pytest.fixture(scope="module")
def as_they_are(classifier: Classifier, digits: Digits) -> float:
    """Share of the digits that the classifier reads right as MNIST has them."""
    probabilities, _ = classifier.predict([image.numpy()[np.newaxis] for image in digits.images])
    return float((probabilities.argmax(dim=1) == digits.labels).float().mean())


@pytest.fixture(scope="module")
def measured(classifier: Classifier, digits: Digits):
    """Return a function that says what becomes of the pictures of a kind."""
    return lambda kind: outcome_of(kind, classifier, digits)


def of_kind(expected: str) -> Sequence:
    kinds = [kind for kind in KINDS if kind.expected == expected]
    return [pytest.param(kind, id=kind.name) for kind in kinds]


@pytest.mark.thorough
@pytest.mark.parametrize("kind", of_kind("digit"))
def test_a_digit_is_read_however_its_picture_was_made(kind: Kind, measured, as_they_are):
    outcome: Outcome = measured(kind)

    assert outcome.right >= min(0.95 if kind.name in LOWER else 0.98, as_they_are - BESIDE)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", of_kind("no-digit"))
def test_a_picture_with_nothing_on_it_gets_no_answer(kind: Kind, measured):
    outcome: Outcome = measured(kind)

    assert outcome.refused >= 0.95


@pytest.mark.thorough
@pytest.mark.parametrize("kind", of_kind("warning"))
def test_a_picture_of_something_else_is_refused_or_answered_with_a_warning(kind: Kind, measured):
    outcome: Outcome = measured(kind)

    assert outcome.refused + outcome.warned >= 0.85


def test_the_table_in_the_documentation_has_every_kind():
    rows = [line.split(" | ")[0].removeprefix("| ") for line in MEASURED.read_text().splitlines()]

    assert [kind.name for kind in KINDS if kind.name not in rows] == []


def test_the_table_shows_what_was_measured():
    kind = next(kind for kind in KINDS if kind.name == "white")

    page = markdown({kind.name: Outcome(right=0.0, refused=1.0, warned=0.0)}, before={kind.name: 0.0})

    assert "| white | refused | 0.0 | **100.0** | 0.0 |" in page
