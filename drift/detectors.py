"""The tests of this package as detectors of TorchDrift.

They can be used wherever TorchDrift's own can, such as in `torchdrift.utils.fit` and
`DriftDetectionExperiment`, and keep their fitted state in their state_dict.
"""

from typing import Any

import torch
from torch import Tensor
from torchdrift.detectors import Detector

from drift.errors import IndividualSamplesError, NotFittedError
from drift.reference import MAX_BATCH, N_PERMUTATIONS, Reference
from drift.two_sample.kernels import CollectionName, TorchDriftKernel
from drift.two_sample.ks import ks_test
from drift.two_sample.label_shift import label_shift_test
from drift.two_sample.mmd import DEFAULT_KERNEL, mmd_permutation_test, mmd_score, witness

Outcome = tuple[Tensor | None, Tensor | None]


class SavableDetector(Detector):  # type: ignore[misc] # TorchDrift is not typed
    """A detector whose state_dict can be loaded before it is fitted, which TorchDrift's cannot."""

    base_outputs: Tensor | None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        # torch fills only buffers that exist, and before it is fitted the detector has none.
        self.base_outputs = state_dict.get(f"{prefix}base_outputs")
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def check_fitted(self) -> None:
        """Check that there is a reference to compare with.

        Raises:
            NotFittedError: Neither `fit` nor `load_state_dict` was called.
        """
        if self.base_outputs is None:
            raise NotFittedError(
                f"{type(self).__name__} has no reference yet: call fit, or load a state_dict."
            )


class MMDDetector(SavableDetector):
    """Maximum mean discrepancy with an exact permutation p-value.

    Args:
        kernel: A name, or a kernel of TorchDrift's, whose lengthscale is taken where it has one.
        return_p_value: Whether calling it gives the p-value instead of the score.
        n_permutations: Permutations; the smallest p-value is 1 / (n_permutations + 1).
        max_batch: The largest batch that will be tested.
        lengthscale_share: Share of what it is fitted on, chosen at random, that only gives the lengthscale.
            The rest is the reference: a lengthscale taken from that would make the p-value wrong.
        seed: Of that choice and of the permutations.
    """

    def __init__(
        self,
        *,
        kernel: CollectionName | TorchDriftKernel = DEFAULT_KERNEL,
        return_p_value: bool = False,
        n_permutations: int = N_PERMUTATIONS,
        max_batch: int = MAX_BATCH,
        lengthscale_share: float = 0.2,
        seed: int = 0,
    ) -> None:
        super().__init__(return_p_value=return_p_value)
        self.kernel = kernel
        self.n_permutations = n_permutations
        self.max_batch = max_batch
        self.lengthscale_share = lengthscale_share
        self.seed = seed
        self.reference: Reference | None = None

    def fit(self, x: Tensor) -> Tensor:
        """Take features of shape (n, d), n at least 4, as the reference, and return them.

        Raises:
            DriftError: As `Reference.fit`.
        """
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(self.seed))
        held = max(2, round(self.lengthscale_share * len(x)))
        self.reference = Reference.fit(
            x[order[held:]],
            lengthscale_sample=x[order[:held]],
            kernels=[self.kernel],
            max_batch=self.max_batch,
            n_permutations=self.n_permutations,
            seed=self.seed,
        )
        self.base_outputs = self.reference.features
        return x

    def predict_shift_from_features(
        self,
        base_outputs: Tensor,  # noqa: ARG002 - TorchDrift passes it; the reference knows it, and more
        outputs: Tensor,
        compute_score: bool,
        compute_p_value: bool,
        individual_samples: bool = False,
    ) -> Outcome:
        """Return the score and the p-value of features (m, d), or the witness of each sample and no p-value.

        Raises:
            NotFittedError: It has no reference yet.
            DriftError: As `mmd_permutation_test`.
        """
        self.check_fitted()
        reference = self.reference
        assert reference is not None
        (name,) = reference.kernels
        if individual_samples:
            return witness(reference, outputs, kernel=reference.kernels[name][0]), None
        if compute_p_value:
            result = mmd_permutation_test(reference, outputs, kernel=name)
            return torch.tensor(result.score), torch.tensor(result.p_value)
        return torch.tensor(mmd_score(reference, outputs, kernel=name)) if compute_score else None, None

    def get_extra_state(self) -> Tensor:
        """Return the reference as the bytes of its file, or no bytes before it is fitted."""
        if self.reference is None:
            return torch.empty(0, dtype=torch.uint8)
        return torch.frombuffer(bytearray(self.reference.to_bytes()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the reference from the bytes of a file.

        Raises:
            InvalidReferenceError: It is damaged, or comes from another version.
        """
        data = state.numpy().tobytes()
        self.reference = Reference.from_bytes(data, "The detector's state") if data else None


class WholeBatchDetector(SavableDetector):
    """A detector that scores a batch as a whole, and computes score and p-value together."""

    def test(self, base_outputs: Tensor, outputs: Tensor) -> tuple[float, float]:
        """Return the score and the p-value of a batch."""
        raise NotImplementedError

    def predict_shift_from_features(
        self,
        base_outputs: Tensor,
        outputs: Tensor,
        compute_score: bool,  # noqa: ARG002 - TorchDrift passes it; the p-value needs the score anyway
        compute_p_value: bool,
        individual_samples: bool = False,
    ) -> Outcome:
        """Return the score and the p-value.

        Raises:
            NotFittedError: It has no reference yet.
            IndividualSamplesError: Samples were to be scored one by one.
            DriftError: No test can be made of this batch.
        """
        self.check_fitted()
        if individual_samples:
            raise IndividualSamplesError(
                f"{type(self).__name__} scores a batch as a whole; MMDDetector scores samples too."
            )
        score, p_value = self.test(base_outputs, outputs)
        return torch.tensor(score), torch.tensor(p_value) if compute_p_value else None


class KSDetector(WholeBatchDetector):
    """Kolmogorov-Smirnov test of each dimension, Bonferroni-corrected, right on tied values too.

    Meant for softmax outputs; it takes any features.
    """

    def test(self, base_outputs: Tensor, outputs: Tensor) -> tuple[float, float]:
        """Return the largest D of all dimensions, and the p-value."""
        result = ks_test(base_outputs, outputs)
        return result.score, result.p_value


class LabelShiftDetector(WholeBatchDetector):
    """χ² test of the predicted classes. It takes logits or softmax outputs, shape (n, K)."""

    def __init__(
        self, *, return_p_value: bool = False, n_permutations: int = N_PERMUTATIONS, seed: int = 0
    ) -> None:
        super().__init__(return_p_value=return_p_value)
        self.n_permutations = n_permutations
        self.seed = seed

    def test(self, base_outputs: Tensor, outputs: Tensor) -> tuple[float, float]:
        """Return χ² and the p-value."""
        result = label_shift_test(
            base_outputs.argmax(dim=1),
            outputs.argmax(dim=1),
            n_classes=base_outputs.shape[1],
            n_permutations=self.n_permutations,
            seed=self.seed,
        )
        return result.score, result.p_value
