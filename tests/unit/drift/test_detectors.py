"""The detectors: they go where TorchDrift's own go, and keep their fitted state."""

import io

import pytest
import torch
import torchdrift
from torch.utils.data import DataLoader, TensorDataset
from torchdrift.detectors.mmd import ExpKernel

from drift import BatchTooSmallError, DriftError, NotFittedError
from drift.detectors import KSDetector, LabelShiftDetector, MMDDetector

MAKE = {
    "mmd": lambda **options: MMDDetector(max_batch=40, n_permutations=99, **options),
    "mmd, kernel of TorchDrift's": lambda **options: MMDDetector(
        kernel=ExpKernel(2.0), max_batch=40, n_permutations=99, **options
    ),
    "ks": KSDetector,
    "label shift": lambda **options: LabelShiftDetector(n_permutations=99, **options),
}
every_detector = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE.keys())


def draw(size: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    values = torch.randn(size, 4, generator=torch.Generator().manual_seed(seed))
    values[:, 0] += shift
    return values


class Extractor(torch.nn.Linear):
    """A feature extractor with parameters, as TorchDrift wants it, that changes nothing."""

    def __init__(self) -> None:
        super().__init__(4, 4, bias=False)
        torch.nn.init.eye_(self.weight)


class Samples:
    """What TorchDrift's experiments call a data module."""

    def __init__(self, shift: float, seed: int) -> None:
        self.shift = shift
        self.seed = seed

    def default_dataloader(self, batch_size: int, num_samples: int) -> DataLoader:
        return DataLoader(TensorDataset(draw(num_samples, self.seed, self.shift)), batch_size)


@every_detector
def test_torchdrifts_fit_and_experiment_work(make):
    """Fitted through a data loader, it separates drifted batches from the others."""
    detector = make()
    experiment = torchdrift.utils.DriftDetectionExperiment(detector, Extractor(), sample_size=40)

    experiment.post_training(DataLoader(TensorDataset(draw(200, 0)), 50))
    area, _ = experiment.evaluate(Samples(0.0, 1), Samples(3.0, 2), num_runs=10)

    assert area > 0.95


@every_detector
def test_a_p_value_is_returned_where_it_is_asked_for(make):
    detector = make(return_p_value=True)
    detector.fit(draw(200, 0))

    assert detector(draw(30, 1, shift=5.0)) <= 0.01
    assert detector(draw(30, 1)) > 0.05
    assert detector.compute_p_value(draw(30, 1)) == detector(draw(30, 1))


@every_detector
def test_the_fitted_state_is_saved_and_loaded(make):
    """Into a detector that was never fitted, through torch's own file format."""
    detector = make(return_p_value=True)
    detector.fit(draw(200, 0))
    stream = io.BytesIO()
    torch.save(detector.state_dict(), stream)
    stream.seek(0)

    loaded = make(return_p_value=True)
    loaded.load_state_dict(torch.load(stream, weights_only=True))

    assert loaded(draw(30, 1)) == detector(draw(30, 1))
    assert torch.equal(loaded.base_outputs, detector.base_outputs)


@every_detector
def test_the_state_of_a_detector_that_was_not_fitted_can_be_loaded_too(make):
    loaded = make()
    loaded.load_state_dict(make().state_dict())

    with pytest.raises(RuntimeError, match="call fit"):
        loaded(draw(10, 1))


@every_detector
def test_a_batch_that_cannot_be_tested_is_an_error(make):
    detector = make(return_p_value=True)
    detector.fit(draw(200, 0))

    with pytest.raises(BatchTooSmallError):
        detector(draw(1, 1))


def test_a_detector_without_a_reference_is_a_named_error():
    with pytest.raises(NotFittedError, match="call fit"):
        MMDDetector().predict_shift_from_features(draw(5, 0), draw(5, 1), True, True)


def test_only_mmd_scores_samples_one_by_one():
    mmd, ks = MAKE["mmd"](), KSDetector()
    batch = draw(20, 1)
    batch[3] = 9.0
    for detector in (mmd, ks):
        detector.fit(draw(200, 0))

    assert mmd(batch, individual_samples=True).shape == (20,)
    with pytest.raises(DriftError, match="as a whole"):
        ks(batch, individual_samples=True)


def test_the_lengthscale_of_mmd_comes_from_samples_that_are_not_in_its_reference():
    detector = MAKE["mmd"]()

    detector.fit(draw(200, 0))

    assert len(detector.reference) == 160
    assert len(detector.base_outputs) == 160


def test_two_detectors_do_not_share_their_kernel():
    """TorchDrift's default kernel is one object for all of them."""
    first, second = MAKE["mmd"](), MAKE["mmd"]()

    first.fit(draw(200, 0))
    second.fit(draw(200, 0) * 10)

    assert second.reference.lengthscale > 5 * first.reference.lengthscale
