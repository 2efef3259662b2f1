"""The reference: the in-distribution sample that every batch is compared with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import get_args

import torch
from pydantic import TypeAdapter
from torch import Tensor

from drift import storage
from drift.certificate import Certificate
from drift.checks import check_lengthscale_sample, check_reference_sample
from drift.errors import (
    DriftError,
    FeatureShapeError,
    InvalidReferenceError,
    MissingProbabilitiesError,
    TooManyPermutationsError,
    UnknownKernelError,
)
from drift.two_sample.kernels import (
    CollectionName,
    Kernel,
    Points,
    TorchDriftKernel,
    aggregate,
    make_kernel,
    median_distance,
)
from drift.two_sample.permutations import KernelSums, PermutationBank, Permutations, sum_kernels

MAX_BATCH = 1000
N_PERMUTATIONS = 999
LENGTHSCALE_SAMPLES = 2000  # more samples give the same median, and take longer
CERTIFICATE: TypeAdapter[Certificate | None] = TypeAdapter(Certificate | None)
ALL_KERNELS: tuple[CollectionName, ...] = get_args(CollectionName)


@dataclass(frozen=True, eq=False)
class Reference:
    """A held-out sample as the model sees it, with everything that a test can compute of it beforehand.

    Attributes:
        features: Penultimate-layer features, shape (n, d), float32.
        probabilities: Softmax outputs for the same samples, shape (n, K), float32; K may be 0.
        lengthscale: Median distance of the sample that it was taken from, in the unit of the features.
        kernels: Each kernel, or collection of kernels, by its name.
        bank: Permutations for every batch size.
        sums: For each kernel, its sums within the reference.
        certificate: How often it raises an alarm, where that was measured.
        source: What made the features, such as a checksum of the model's weights, where it is known.
    """

    features: Tensor
    probabilities: Tensor
    lengthscale: float
    kernels: Mapping[CollectionName, tuple[Kernel, ...]]
    bank: PermutationBank
    sums: Mapping[Kernel, KernelSums]
    certificate: Certificate | None = None
    source: str = ""

    def __post_init__(self) -> None:
        check_reference_sample(self.features, self.probabilities)
        if not self.bank.fits(len(self.features)):
            raise FeatureShapeError("The permutations are not of this reference.")
        shape = self.bank.orders.shape
        for kernel in {kernel for collection in self.kernels.values() for kernel in collection}:
            sums = self.sums.get(kernel)
            if sums is None or sums.row_sums.shape != (len(self),) or sums.increments.shape != shape:
                raise FeatureShapeError(f"The kernel sums of {kernel} are not those of this reference.")

    def __len__(self) -> int:
        return len(self.features)

    @property
    def max_batch(self) -> int:
        """The largest batch that can be tested."""
        return self.bank.max_batch

    @cached_property
    def centre(self) -> Tensor:
        """The mean of the features, shape (d,), float64."""
        return self.features.double().mean(dim=0)

    @cached_property
    def points(self) -> Points:
        """The features as points around their centre."""
        return Points.of(self.features, self.centre)

    @cached_property
    def permutations(self) -> Callable[[int, int], Permutations]:
        """A function from a batch size m and a number of permutations to these permutations.

        It keeps those that it returned last, since batches tend to have one size.
        """
        return lru_cache(maxsize=1)(partial(self.bank.permutations, len(self)))

    def collection(self, name: CollectionName) -> tuple[Kernel, ...]:
        """Return the kernels of a name.

        Raises:
            UnknownKernelError: The reference was not fitted with it.
        """
        if name not in self.kernels:
            raise UnknownKernelError(
                f"The reference was fitted without the kernel {name!r}. It has {', '.join(self.kernels)}."
            )
        return self.kernels[name]

    def check_count(self, n_permutations: int | None) -> int:
        """Return n_permutations, or where it is None the number that the reference holds.

        Raises:
            TooManyPermutationsError: There are not n_permutations.
        """
        held = self.bank.n_permutations
        if n_permutations is None:
            return held
        if not 1 <= n_permutations <= held:
            raise TooManyPermutationsError(
                f"A test takes from 1 to {held} permutations, as many as the reference holds, not "
                f"{n_permutations}. Fit a reference with more of them, or ask for fewer."
            )
        return n_permutations

    @property
    def outputs(self) -> Tensor:
        """The softmax outputs, shape (n, K).

        Raises:
            MissingProbabilitiesError: The reference was fitted without them.
        """
        if not self.probabilities.shape[1]:
            raise MissingProbabilitiesError(
                "The reference was fitted without softmax outputs, which this test needs. Fit it with them."
            )
        return self.probabilities

    @classmethod
    def fit(
        cls,
        features: Tensor,
        probabilities: Tensor | None = None,
        *,
        lengthscale_sample: Tensor,
        kernels: Sequence[CollectionName | TorchDriftKernel] = ALL_KERNELS,
        max_batch: int = MAX_BATCH,
        n_permutations: int = N_PERMUTATIONS,
        seed: int = 0,
        progress: bool = False,
    ) -> "Reference":
        """Return the reference for a held-out sample.

        Args:
            features: Held-out features, shape (n, d), n at least 2.
            probabilities: Softmax outputs for the same samples, shape (n, K), where there are any.
            lengthscale_sample: Features of other samples, shape (k, d), k at least 2, whose median distance
                becomes the lengthscale. They must not be among `features`: a lengthscale taken from one of
                the two samples under test would make them distinguishable, and the p-value wrong.
            kernels: Names, or kernels of TorchDrift's, whose lengthscale is taken where they have one.
            max_batch: The largest batch that will be tested, from 2 to 32,767.
            n_permutations: How many permutations each test will take.
            seed: Of the permutations.
            progress: Whether to show a progress bar.

        Raises:
            FeatureShapeError: The three do not fit together.
            FeatureTypeError: They are not floating-point numbers.
            NonFiniteFeaturesError: A value is NaN or infinite.
            NotProbabilitiesError: The probabilities are no softmax outputs.
            UnknownKernelError: There is no such kernel, or the lengthscale would be zero.
            ValueError: max_batch or n_permutations is out of range.
        """
        if not (2 <= max_batch < 2**15 and n_permutations >= 1):
            raise ValueError(
                "A reference is for batches of 2 to 32,767 samples and at least one permutation, not for "
                f"{max_batch} and {n_permutations}."
            )
        probabilities = features.new_empty(len(features), 0) if probabilities is None else probabilities
        check_reference_sample(features, probabilities)
        check_lengthscale_sample(lengthscale_sample, features)
        step = -(-len(lengthscale_sample) // LENGTHSCALE_SAMPLES)
        lengthscale = median_distance(lengthscale_sample.detach()[::step])
        collections = dict(collect(kernel, lengthscale) for kernel in kernels)
        bank = PermutationBank.draw(
            len(features), max_batch=max_batch, n_permutations=n_permutations, seed=seed
        )
        features = features.detach().float().contiguous()
        points = Points.of(features, features.double().mean(dim=0))
        wanted = list(dict.fromkeys(kernel for collection in collections.values() for kernel in collection))
        sums = sum_kernels(points, bank.orders, wanted, progress=progress)
        probabilities = probabilities.detach().float().contiguous()
        return cls(features, probabilities, lengthscale, collections, bank, sums)

    def to_bytes(self) -> bytes:
        """Return the reference as a safetensors file with a version and a checksum."""
        wanted = list(self.sums)
        facts = {
            "kernels": [[kernel.name, kernel.lengthscale, kernel.alpha] for kernel in wanted],
            "collections": {
                name: [wanted.index(kernel) for kernel in collection]
                for name, collection in self.kernels.items()
            },
            "lengthscale": self.lengthscale,
            "seed": self.bank.seed,
            "certificate": self.certificate and asdict(self.certificate),
            "source": self.source,
        }
        tensors = {
            "features": self.features,
            "probabilities": self.probabilities,
            "orders": self.bank.orders,
            "of_batch": self.bank.of_batch,
            "row_sums": torch.stack([sums.row_sums for sums in self.sums.values()]),
            "increments": torch.stack([sums.increments for sums in self.sums.values()]),
        }
        return storage.pack(tensors, facts)

    def save(self, path: Path) -> None:
        """Write the reference to a safetensors file, whole or not at all."""
        storage.write(path, self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "The file") -> "Reference":
        """Return the reference that `to_bytes` gave.

        Args:
            data: The content of a file.
            name: What to call it in an error.

        Raises:
            InvalidReferenceError: It is damaged, is something else, or comes from another version.
        """
        tensors, facts = storage.unpack(data, name)
        try:
            kernels = [Kernel(*entry) for entry in facts["kernels"]]
            collections = {
                collection: tuple(kernels[index] for index in indices)
                for collection, indices in facts["collections"].items()
            }
            sums = {
                kernel: KernelSums(row_sums, increments)
                for kernel, row_sums, increments in zip(
                    kernels, tensors["row_sums"], tensors["increments"], strict=True
                )
            }
            bank = PermutationBank(tensors["orders"], tensors["of_batch"], facts["seed"])
            features, probabilities = tensors["features"], tensors["probabilities"]
            certificate = CERTIFICATE.validate_python(facts["certificate"])
            known = {"certificate": certificate, "source": facts["source"]}
            return cls(features, probabilities, facts["lengthscale"], collections, bank, sums, **known)
        except (DriftError, KeyError, IndexError, TypeError, ValueError) as error:
            why = f": {error}" if isinstance(error, DriftError) else ", since parts of it are missing."
            raise InvalidReferenceError(f"{name} is no drift reference that can be used{why}") from error

    @classmethod
    def load(cls, path: Path) -> "Reference":
        """Read a reference that `save` wrote.

        Raises:
            InvalidReferenceError: The file is damaged, is something else, or comes from another version.
            OSError: It cannot be read at all.
        """
        return cls.from_bytes(path.read_bytes(), str(path))


def collect(
    kernel: CollectionName | TorchDriftKernel, lengthscale: float
) -> tuple[CollectionName, tuple[Kernel, ...]]:
    """Return the name of a kernel, or of the aggregate, and its kernels."""
    if kernel == "aggregate":
        return "aggregate", aggregate(lengthscale)
    made = make_kernel(kernel, lengthscale)
    return made.name, (made,)
