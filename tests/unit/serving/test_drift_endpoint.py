"""The drift endpoint: what it answers for a model without a drift reference."""

from dataclasses import replace

import pytest

from serving.endpoints.drift import score_drift
from serving.errors import NoDriftReferenceError
from serving.execution.lanes import quick_lane
from serving.requests.cancellation import Work
from serving.requests.multipart import Submission
from serving.schemas import DriftForm
from serving.settings import Settings
from vision.models.classifier import load_classifier


@pytest.mark.parametrize(
    ("name", "advice"),
    [("resnet", "Run `python -m train resnet --reference FOLDER`"), ("pets", "Save it with one")],
    ids=["a model of this project", "a model of somebody else"],
)
def test_a_model_without_a_reference_is_said_to_have_none(fake_model_folder, name, advice):
    classifier = load_classifier(fake_model_folder, name, "1", {"preprocessing": "digits"})
    submission = Submission(DriftForm(model=name), [])

    with pytest.raises(NoDriftReferenceError, match=f"^{name}:1 was saved without .* {advice} and start"):
        score_drift(replace(classifier, reference=None), Settings(), quick_lane(1), submission, Work())
