"""The classifier: what it takes and returns, and how it is trained."""

import re
from dataclasses import replace

import pytest
import torch

from drift.certify import draw_batches, pooled_p_values
from drift.two_sample.kernels import median_distance
from train.data import Digits, MnistSplits
from train.mnist import LENGTHSCALE_DIGITS, DigitClassifier, evaluate, predict, train_classifier


@pytest.fixture(scope="module")
def few(splits) -> MnistSplits:
    """A few digits of each split, so that an epoch takes a moment."""
    some = torch.arange(256)
    return MnistSplits(
        "a few", splits.train.take(some), splits.validation.take(some), splits.reference, splits.test
    )


def test_the_scripted_module_takes_uint8_and_returns_logits_and_features():
    script = torch.jit.script(DigitClassifier().eval())

    logits, features = script(torch.zeros(3, 1, 28, 28, dtype=torch.uint8))

    assert (logits.shape, logits.dtype) == ((3, 10), torch.float32)
    assert (features.shape, features.dtype) == ((3, 128), torch.float32)


def test_the_logits_are_a_linear_function_of_the_features(held_out):
    """Drift of the features is then drift of all that the classifier looks at."""
    torch.manual_seed(0)
    model = DigitClassifier()

    logits, features = predict(model, held_out.images[:10])

    with torch.inference_mode():
        torch.testing.assert_close(model.head(features), logits)


def test_training_learns(few):
    torch.manual_seed(0)
    _, before = evaluate(DigitClassifier(), few.validation)

    _, after = evaluate(train_classifier(few, epochs=4, seed=0), few.validation)

    assert after > before + 0.4


def test_the_same_seed_gives_the_same_classifier(few):
    first, second, other = (
        predict(train_classifier(few, epochs=1, seed=seed), few.test.images[:10])[0] for seed in (0, 0, 1)
    )

    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_training_stops_when_validation_no_longer_improves_and_returns_the_best(few, capsys):
    """With validation labels that are noise, the first epochs are as good as it gets."""
    noise = torch.randint(0, 10, (256,), generator=torch.Generator().manual_seed(0))
    hopeless = replace(few, validation=Digits(few.validation.images, noise))

    model = train_classifier(hopeless, epochs=40, seed=0)

    shown = capsys.readouterr().err
    losses = [float(loss) for loss in re.findall(r"validation loss ([\d.]+)", shown)]
    assert "epoch 40" not in shown
    assert len(losses) > losses.index(min(losses)) + 1
    assert evaluate(model, hopeless.validation)[0] == pytest.approx(min(losses), abs=1e-4)


@pytest.mark.thorough
def test_lengthscale_reference_and_certificate_are_of_digits_that_are_in_no_other_use(
    trained_classifier, splits
):
    reference = trained_classifier.reference
    training, held_out, test = (
        trained_classifier.engine(digits.images.unsqueeze(1))[1]
        for digits in (splits.train, splits.reference, splits.test)
    )

    assert reference.lengthscale == pytest.approx(median_distance(training[:LENGTHSCALE_DIGITS]), rel=1e-4)
    torch.testing.assert_close(reference.features, held_out, rtol=1e-3, atol=1e-3)
    certificate = reference.certificate
    assert certificate.n_held_out == len(splits.test)
    batches = draw_batches(len(test), 16, certificate.n_batches, seed=0)
    p_values = pooled_p_values(reference, test, batches, kernel=certificate.kernel)
    at_5 = next(one for one in certificate.false_alarms if (one.m, one.alpha) == (16, 0.05))
    # Features that were computed in other chunks differ in their last digits, which may move a few p-values.
    assert at_5.alarms.rate == pytest.approx((p_values <= 0.05).double().mean().item(), abs=0.003)
