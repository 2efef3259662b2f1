"""Stored models: loaded if they give the golden answers, and otherwise refused with the reason."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from drift import Reference
from serving.endpoints.models import describe_models
from serving.errors import UnknownModelError
from serving.registry import Registry, UnavailableModel
from vision.errors import ModelNotLoadedError
from vision.models.bundle import CHECKSUMS
from vision.models.classifier import load_classifier

DIGITS = {"preprocessing": "digits"}


def change_golden(folder, **changes):
    golden = load_file(folder / "golden.safetensors")
    save_file(
        golden | {name: change(golden[name]) for name, change in changes.items()},
        folder / "golden.safetensors",
    )


def test_a_model_answers_as_its_script_does(fake_model_folder):
    classifier = load_classifier(fake_model_folder, "fake", "1", DIGITS)

    probabilities, features = classifier.predict([np.full((1, 28, 28), 200, np.uint8)] * 600)

    assert probabilities.shape == (600, 2)
    assert torch.allclose(probabilities.sum(1), torch.ones(600))
    assert probabilities[599].argmax() == 1
    assert features[599].tolist() == [200, -200]
    assert classifier.tag == "fake:1"


def test_rounding_passes_the_golden_check(fake_model_folder):
    change_golden(fake_model_folder, logits=lambda logits: logits * (1 + 1e-5))

    load_classifier(fake_model_folder, "fake", "1", DIGITS)


@pytest.mark.parametrize("wrong", ["logits", "features"])
@pytest.mark.parametrize(
    "change", [lambda x: x * 1.1, lambda x: x * torch.nan, lambda x: x.flip(0)], ids=["off", "NaN", "swapped"]
)
def test_other_answers_than_in_training_fail_the_golden_check(fake_model_folder, wrong, change):
    change_golden(fake_model_folder, **{wrong: change})

    with pytest.raises(ModelNotLoadedError, match="does not give the answers that it gave in training"):
        load_classifier(fake_model_folder, "fake", "1", DIGITS)


@pytest.mark.parametrize("file", ["model.pt", "labels.json", "reference.safetensors", "golden.safetensors"])
def test_a_damaged_file_is_a_model_that_is_not_loaded(fake_model_folder, file):
    (fake_model_folder / file).write_bytes(b"damaged")

    with pytest.raises(ModelNotLoadedError, match=f"^fake:1: {file} is damaged"):
        load_classifier(fake_model_folder, "fake", "1", DIGITS)


@pytest.mark.parametrize(("file", "fact"), CHECKSUMS.items())
def test_a_file_that_is_not_the_one_that_training_stored_is_refused(fake_model_folder, file, fact):
    """Such as that of another version, which fits as well."""
    stored = (fake_model_folder / file).read_bytes()
    facts = DIGITS | {fact: hashlib.sha256(stored).hexdigest()}
    load_classifier(fake_model_folder, "fake", "1", facts)

    (fake_model_folder / file).write_bytes(stored + b"\n")

    with pytest.raises(ModelNotLoadedError, match=f"^fake:1: {file} .* its checksum is not"):
        load_classifier(fake_model_folder, "fake", "1", facts)


def test_a_drift_reference_that_was_stored_and_is_gone_is_missed(fake_model_folder):
    path = fake_model_folder / "reference.safetensors"
    facts = DIGITS | {"reference_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    path.unlink()

    with pytest.raises(ModelNotLoadedError, match=r"^fake:1: reference.safetensors is missing"):
        load_classifier(fake_model_folder, "fake", "1", facts)


def test_golden_answers_that_lack_a_part_are_refused(fake_model_folder):
    golden = load_file(fake_model_folder / "golden.safetensors")
    save_file({"images": golden["images"]}, fake_model_folder / "golden.safetensors")

    with pytest.raises(ModelNotLoadedError, match=r"^fake:1: golden.safetensors is damaged"):
        load_classifier(fake_model_folder, "fake", "1", DIGITS)


def test_a_reference_of_another_models_features_is_refused(fake_model_folder):
    reference = Reference.load(fake_model_folder / "reference.safetensors")
    replace(reference, source="another").save(fake_model_folder / "reference.safetensors")

    with pytest.raises(ModelNotLoadedError, match="another model's features"):
        load_classifier(fake_model_folder, "fake", "1", DIGITS)


@pytest.mark.parametrize(
    ("labels", "says"),
    [('["dark"]', "2 names"), ('{"dark": 0, "light": 1}', "2 names"), ("[0, 1]", "2 names")],
)
def test_class_names_that_are_not_the_models_are_refused(fake_model_folder, labels, says):
    (fake_model_folder / "labels.json").write_text(labels)

    with pytest.raises(ModelNotLoadedError, match=says):
        load_classifier(fake_model_folder, "fake", "1", DIGITS)


def test_the_drift_reference_of_another_model_is_refused(fake_model_folder):
    samples = torch.randn(20, 7, generator=torch.Generator().manual_seed(0))
    reference = Reference.fit(samples, samples.softmax(1), lengthscale_sample=samples + 1)
    reference.save(fake_model_folder / "reference.safetensors")

    with pytest.raises(ModelNotLoadedError, match="7 features; the model has 2"):
        load_classifier(fake_model_folder, "fake", "1", DIGITS)


def test_the_drift_reference_of_other_classes_is_refused(fake_model_folder):
    samples = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    reference = Reference.fit(samples, torch.ones(20, 3) / 3, lengthscale_sample=samples + 1)
    reference.save(fake_model_folder / "reference.safetensors")

    with pytest.raises(ModelNotLoadedError, match="3 classes; the model has 2"):
        load_classifier(fake_model_folder, "fake", "1", DIGITS)


def test_golden_answers_of_another_shape_are_refused(fake_model_folder):
    change_golden(fake_model_folder, logits=lambda logits: logits[:, :1].contiguous())

    with pytest.raises(ModelNotLoadedError, match="shapes"):
        load_classifier(fake_model_folder, "fake", "1", DIGITS)


def test_a_model_needs_no_drift_reference(fake_model_folder):
    (fake_model_folder / "reference.safetensors").unlink()

    assert load_classifier(fake_model_folder, "fake", "1", DIGITS).reference is None


def test_a_registry_gives_what_is_loaded_and_says_why_it_does_not_give_the_rest(fake_model_folder):
    classifier = load_classifier(fake_model_folder, "fake", "1", DIGITS)
    registry = Registry({"fake": classifier, "broken": UnavailableModel("broken", "2", "It is broken.")})

    assert registry.get("fake") is classifier
    with pytest.raises(ModelNotLoadedError, match="It is broken"):
        registry.get("broken")
    with pytest.raises(ModelNotLoadedError, match="python -m train mnist"):
        registry.get("mnist")
    with pytest.raises(UnknownModelError, match="There is: mnist"):
        registry.get("resnet1000")


def test_a_service_is_ready_with_models_that_all_load(fake_model_folder):
    loaded = load_classifier(fake_model_folder, "fake", "1", DIGITS)
    broken = UnavailableModel("broken", "1", "It is broken.")

    assert Registry({"fake": loaded}).why_not_ready is None
    assert Registry({"fake": loaded, "broken": broken}).why_not_ready == "It is broken."
    assert "holds no model" in Registry({}).why_not_ready


def test_a_registry_describes_every_model(fake_model_folder):
    loaded = load_classifier(fake_model_folder, "fake", "1", DIGITS)

    registry = Registry({"fake": loaded, "broken": UnavailableModel("broken", "2", "It is.")})

    described = describe_models(registry).models

    assert [(model.name, model.ready, model.reason) for model in described] == [
        ("fake", True, None),
        ("broken", False, "It is."),
    ]
    assert described[0].drift_reference.n_reference == 50
    assert described[0].classes == ["dark", "light"]
