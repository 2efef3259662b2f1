"""What the command line does."""

import argparse
import errno
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from bento import catalogue
from cli.client import drift_table
from cli.terminal import DRIFT, ERROR, OK, Terminal
from drift.errors import DriftError, InvalidReferenceError, UnreadableSamplesError
from drift.fitting import Recipe, fit_certified, mention_copies, usual_kernel
from drift.reference import ALL_KERNELS, Reference
from drift.report import Batch, check_form, score_batch
from drift.samples import Samples, read_features
from drift.tables import certificate_table
from serving.endpoints.classify import image_errors
from serving.requests.fields import validated
from serving.schemas import DriftForm, ImageError
from vision.embed import EmbeddedImages, blur_of, embed_images
from vision.errors import Problem
from vision.images.folders import NoImagesError
from vision.models.classifier import Classifier

MISTAKES = (DriftError, Problem, NoImagesError)


def fit(options: argparse.Namespace) -> int:
    """Fit a reference on some of the samples, certify it on others, and write it."""
    check_writable(options.out)
    classifier = None if options.model is None else catalogue.load(options.model)
    samples, images = read_samples(options.samples, classifier)
    if images and images.failed:
        show_failed(image_errors(images.failed))
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
    """Refuse a place where nothing could be written, before all the work.

    Raises:
        OSError: It is one.
    """
    if out.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; name a file", str(out))
    if not out.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(out.parent))
    if not os.access(out.parent, os.W_OK):
        raise PermissionError(errno.EACCES, "nothing can be written to this folder", str(out.parent))


def source_of(classifier: Classifier | None) -> str:
    return "" if classifier is None else str(classifier.metadata.get("weights_sha256", ""))


def score(options: argparse.Namespace) -> int:
    """Test a batch, and say by the exit status what came out."""
    classifier = None if options.model is None else catalogue.load(options.model)
    reference = read_reference(options, classifier)
    fields = {name: getattr(options, name) for name in ("detector", "kernel", "alpha", "n_permutations")}
    fields["kernel"] = options.kernel or usual_kernel(reference.kernels)
    form = validated({name: value for name, value in fields.items() if value is not None}, DriftForm)
    check_form(form, reference)
    samples, images = read_samples(options.samples, classifier)
    if form.detector != "mmd" and samples.probabilities is None:
        raise UnreadableSamplesError(
            f"The detector {form.detector} looks at softmax outputs, and the batch has none. Put them into a "
            ".npz file as `probabilities`, beside `features`."
        )
    outputs = samples.features.new_empty(0, 0) if samples.probabilities is None else samples.probabilities
    labels = classifier.labels if classifier else [str(index) for index in range(outputs.shape[1])]
    failed = image_errors(images.failed) if images else []
    batch = Batch(list(enumerate(samples.names)), outputs, samples.features, failed)
    model, trained = (classifier.tag, classifier.trained) if classifier else ("features", None)
    answer = score_batch(form, reference, model, labels, batch, trained=trained)
    if options.json:
        print(json.dumps(answer.model_dump(mode="json"), indent=2))
    else:
        Terminal().print(drift_table(answer.model_dump()))
    if answer.is_drift:
        return DRIFT
    return ERROR if failed else OK


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
        from study.command import run  # the image of the service has none of what it needs
    except ModuleNotFoundError as error:
        raise UnreadableSamplesError(
            f"The study needs {error.name}, which is not installed here: `scripts/test` makes an environment "
            "that has it."
        ) from error
    return run(options)


def read_reference(options: argparse.Namespace, classifier: Classifier | None) -> Reference:
    """Return the reference of a file, or else the model's own.

    Raises:
        InvalidReferenceError: There is none, or it is not the model's.
    """
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
    """Refuse a reference that holds what another model saw.

    Raises:
        InvalidReferenceError: It does.
    """
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
    """Return the features that files hold, or what a model sees in the images that they hold.

    Raises:
        UnreadableSamplesError: They hold images, and there is no model; or they cannot be used.
    """
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


def show_failed(failed: Sequence[ImageError]) -> None:
    console = Terminal(stderr=True, soft_wrap=True, markup=False)
    for image in failed:
        console.print(f"{image.filename}: {image.error.detail}")
    console.print("A reference is of images that can all be used: mend or remove these. Nothing was written.")
