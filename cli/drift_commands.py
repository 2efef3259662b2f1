"""The commands of `python -m drift`: fit, score, certificate and study."""

import argparse
import errno
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError
from rich.table import Table

from bento import catalogue
from cli.tables import certificate_table, show_drift
from cli.terminal import ERROR, OK, CommandError, Terminal
from drift.errors import DriftError, InvalidReferenceError, UnreadableSamplesError
from drift.fitting import Recipe, fit_certified, mention_copies, usual_kernel
from drift.reference import ALL_KERNELS, Reference
from drift.report import Alpha, Batch, Detector, DriftTest, PermutationCount
from drift.samples import Samples, read_features
from serving.problems import document_of
from vision.embed import EmbeddedImages, blur_of, embed_images
from vision.errors import MAX_ECHO, Problem
from vision.images.folders import NoImagesError
from vision.models.classifier import Classifier

MISTAKES = (DriftError, Problem, NoImagesError)
EXPECTED: Mapping[str, tuple[TypeAdapter[Any], str]] = {
    "detector": (TypeAdapter(Detector), f"one of {', '.join(get_args(Detector))}"),
    "alpha": (TypeAdapter(Alpha), "a number, at least 0.0001, less than 1"),
    "n_permutations": (TypeAdapter(PermutationCount | None), "a whole number, at least 19, at most 9999"),
}


def fit(options: argparse.Namespace) -> int:
    """Fit a reference on some of the samples, certify it on others, and write it."""
    check_writable(options.out)
    classifier = None if options.model is None else catalogue.load(options.model)
    samples, images = read_samples(options.samples, classifier)
    if images and images.failed:
        console = Terminal(stderr=True, soft_wrap=True, markup=False)
        for image in images.failed:
            console.print(f"{image.filename}: {image.content}")
        console.print(
            "A reference is of images that can all be used: mend or remove these. Nothing was written."
        )
        return ERROR
    mention_copies(samples)
    recipe = Recipe(
        kernels=options.kernels or ALL_KERNELS,
        max_batch=options.max_batch,
        n_permutations=options.n_permutations,
        lengthscale_share=options.lengthscale_share,
        certificate_share=options.certificate_share,
        n_batches=options.batches,
        seed=options.seed,
    )
    blur = partial(blur_of, classifier, images.inputs) if classifier and images else None
    source = source_of(classifier) if images else ""
    fit_certified(samples, recipe, blur=blur, source=source, progress=True).save(options.out)
    show_reference(Reference.load(options.out), options.out, as_json=options.json)
    return OK


def check_writable(out: Path) -> None:
    """Check that a file can be written, before all the work; raise an OSError if not."""
    if out.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; name a file", str(out))
    if not out.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(out.parent))
    if not os.access(out.parent, os.W_OK):
        raise PermissionError(errno.EACCES, "nothing can be written to this folder", str(out.parent))


def source_of(classifier: Classifier | None) -> str:
    return "" if classifier is None else str(classifier.metadata.get("weights_sha256", ""))


def score(options: argparse.Namespace) -> int:
    """Test a batch, and return the exit status that tells the verdict."""
    classifier = None if options.model is None else catalogue.load(options.model)
    reference = read_reference(options, classifier)
    test = requested_test(options, reference)
    test.check(reference)
    samples, images = read_samples(options.samples, classifier)
    if test.detector != "mmd" and samples.probabilities is None:
        raise UnreadableSamplesError(
            f"The detector {test.detector} looks at softmax outputs, and the batch has none. Put them into a "
            ".npz file as `probabilities`, beside `features`."
        )
    outputs = samples.features.new_empty(0, 0) if samples.probabilities is None else samples.probabilities
    labels = classifier.labels if classifier else [str(index) for index in range(outputs.shape[1])]
    report = test.run(reference, Batch(list(enumerate(samples.names)), outputs, samples.features), labels)
    answer = {
        "model": classifier.tag if classifier else "features",
        "trained": classifier.trained if classifier else None,
        **asdict(report),
        "image_errors": [
            {"index": image.index, "filename": image.filename, "error": document_of(image.content)}
            for image in (images.failed if images else ())
            if isinstance(image.content, Problem)
        ],
    }
    return show_drift(answer, as_json=options.json)


def requested_test(options: argparse.Namespace, reference: Reference) -> DriftTest:
    """Return the test that the options ask for, or raise a CommandError where they make no sense."""
    values = dict[str, Any]()
    for name, (kind, expected) in EXPECTED.items():
        text = getattr(options, name)
        try:
            values[name] = kind.validate_python(text)
        except ValidationError:
            raise CommandError(f"{name} must be {expected} (it was {text[:MAX_ECHO]!r}).") from None
    return DriftTest(kernel=options.kernel or usual_kernel(reference.kernels), **values)


def certificate(options: argparse.Namespace) -> int:
    """Show a reference's certificate."""
    reference = read_reference(options, None if options.model is None else catalogue.load(options.model))
    if reference.certificate is None:
        raise InvalidReferenceError(
            "The reference has no certificate: it was fitted without one. Fit it again with one."
        )
    if options.json:
        print(json.dumps(asdict(reference.certificate), indent=2))
    else:
        Terminal().print(certificate_table(reference.certificate))
    return OK


def study(options: argparse.Namespace) -> int:
    """Measure what each detector finds in which condition, and write a report."""
    try:
        from study.experiment import Options, conduct  # the image of the service has no matplotlib
        from study.report import alarm_shares
    except ModuleNotFoundError as error:
        raise UnreadableSamplesError(
            f"The study needs {error.name}, which is not installed here: `scripts/test` makes an environment "
            "that has it."
        ) from error
    asked = {name: value for name, value in vars(options).items() if name != "command"}
    found, files = conduct(Options(**asked))
    shares = alarm_shares(found.table)
    table = Table("Detector", title="Share of runs that alarm at 0.05")
    for heading in shares.columns:
        table.add_column(heading, justify="right")
    for detector, row in shares.iterrows():
        table.add_row(str(detector), *(f"{share:.0%}" for share in row))
    console = Terminal(markup=False)
    for part in (table, *found.answer):
        console.print(part)
    console.print(f"{options.out / 'study.html'} shows it all; beside it lie {', '.join(files)}.")
    return OK


def read_reference(options: argparse.Namespace, classifier: Classifier | None) -> Reference:
    """Return the reference of a file, checked to be of the model if there is one, or else the model's own."""
    if options.reference is not None:
        reference = Reference.load(options.reference)
        if classifier:
            check_origin(reference, classifier)
        return reference
    if classifier is None:
        raise InvalidReferenceError("Say against what: --reference FILE, --model NAME, or both.")
    if classifier.reference is None:
        raise InvalidReferenceError(
            f"{classifier.tag} was saved without a reference. Name one with --reference."
        )
    return classifier.reference


def check_origin(reference: Reference, classifier: Classifier) -> None:
    """Check that a reference was fitted with this model; raise an InvalidReferenceError if not."""
    of_another = reference.source and reference.source != source_of(classifier)
    n_features, n_classes = reference.features.shape[1], reference.probabilities.shape[1]
    other_width = classifier.reference is not None and n_features != classifier.reference.features.shape[1]
    if of_another or other_width or n_classes not in (0, len(classifier.labels)):
        raise InvalidReferenceError(
            f"The reference was fitted with another model than {classifier.tag}. Fit one with this model."
        )


def read_samples(
    paths: Sequence[Path], classifier: Classifier | None
) -> tuple[Samples, EmbeddedImages | None]:
    """Return the features in files; for files of images those that the model gives, and the images."""
    samples = read_features(paths)
    if samples is not None:
        return samples, None
    if classifier is None:
        raise UnreadableSamplesError("These are images: say which model is to see them, with --model NAME.")
    images = embed_images(paths, classifier, progress=True)
    return images.samples, images


def show_reference(reference: Reference, out: Path, *, as_json: bool) -> None:
    facts = {
        "reference": str(out),
        "n_reference": len(reference),
        "n_features": reference.features.shape[1],
        "lengthscale": reference.lengthscale,
        "kernels": list(reference.kernels),
        "max_batch": reference.max_batch,
        "n_permutations": reference.bank.n_permutations,
        "certificate": reference.certificate and asdict(reference.certificate),
    }
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    console = Terminal(soft_wrap=True, markup=False)
    console.print(
        f"{out}: {len(reference):,} samples of {facts['n_features']} features, lengthscale "
        f"{reference.lengthscale:.4g}"
    )
    if reference.certificate:
        console.print(certificate_table(reference.certificate))
