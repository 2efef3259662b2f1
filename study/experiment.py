"""The experiment: from a model and held-out images to a report."""

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from pandas import DataFrame

from bento import catalogue
from study import figures
from study.answer import answer
from study.conditions import BLUR, NO_DRIFT, Condition, every_condition
from study.contact_sheet import contact_sheet
from study.measure import SLOW, SLOW_RUNS, left_for_reference, measure, split_samples, summarise
from study.pictures import Plane, detector_panels, reduction_panels, shown_condition
from study.reductions import Quality, available, best_reduction, check_name
from study.report import Study, write
from study.sources import foreign_images, held_out, predictor, sizes_within

SIZES, RUNS, N_REFERENCE = (16, 64, 256), 20, 500
QUICK_N_REFERENCE = 300
QUICK_SIZES, QUICK_RUNS, QUICK_REDUCTIONS = (16, 64), 8, ("PCA", "spectral embedding")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is studied, and how thoroughly.

    Attributes:
        model: Name of a model in the BentoML store.
        samples: Held-out images in folders and files; none for those of the model's data set.
        data: Folder of the data sets.
        ood: Images of something else; None for Fashion-MNIST.
        m: Sizes of batches. Where it, `runs` or `reductions` is None, `quick` decides.
    """

    model: str
    samples: Sequence[Path]
    data: Path
    ood: Sequence[Path] | None
    ood_name: str | None
    out: Path
    m: Sequence[int] | None
    runs: int | None
    reductions: Sequence[str] | None
    seed: int
    quick: bool


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        sizes: Sizes of batches.
        left_out: Sizes that were asked for, but for which there are too few images.
        n: Size of the reference.
        runs: How often samples are dealt out.
        slow_runs: The same for slow detectors.
        reductions: Names of the reductions that are shown.
        seed: Of everything random.
    """

    sizes: Sequence[int]
    left_out: Sequence[int]
    n: int
    runs: int
    slow_runs: int
    reductions: Sequence[str]
    seed: int


def conduct(options: Options) -> tuple[Study, list[str]]:
    """Measure, draw and write a report, and return it with the names of its files.

    Raises:
        DriftError: The options ask for what cannot be measured.
        Problem: The model cannot be loaded.
        OSError: A file cannot be read or written.
    """
    check_folder(options.out)
    classifier = catalogue.load(options.model)
    images, labels, source, remarks = held_out(options.samples, options.data, classifier)
    plan = planned(options, len(images))
    foreign, unavailable = foreign_images(
        options.ood, options.ood_name, options.data, classifier, count=max(plan.sizes), seed=plan.seed
    )
    conditions = every_condition(
        predictor(classifier),
        images,
        labels,
        foreign,
        seed=plan.seed,
        families=[BLUR] if options.quick else None,
        progress=True,
    )
    tests = measure(
        conditions,
        sizes=plan.sizes,
        n=plan.n,
        runs=plan.runs,
        slow_runs=plan.slow_runs,
        seed=plan.seed,
        progress=True,
    )
    remarks += unavailable
    if not options.reductions and not options.quick:
        remarks += [f"{name}: `pip install umap-learn` brings it." for name in available()[1]]
    facts = {
        "model": classifier.tag,
        "held-out images": f"{len(images):,}, {source}",
        "reference": f"{plan.n} images, dealt out anew in each run",
        "runs": f"{plan.runs}; of {' and '.join(SLOW)}, which takes seconds for a test, {plan.slow_runs}",
        "seed": str(plan.seed),
    }
    names = [one.name for one in foreign]
    study = studied(plan, conditions, tests, facts=facts, foreign=names, remarks=remarks)
    return study, write(study, options.out)


def studied(
    plan: Plan,
    conditions: Sequence[Condition],
    tests: DataFrame,
    *,
    facts: Mapping[str, str],
    foreign: Sequence[str],
    remarks: Sequence[str],
) -> Study:
    """Return the study that the tests of a plan make, with its figures and its answer."""
    table = summarise(tests, conditions)
    drawn, qualities = draw(plan, conditions, tests, table)
    shown = f"{conditions[shown_condition(conditions)].name}, {max(plan.sizes)} images"
    too_few = [f"The size {m}: there are too few images." for m in plan.left_out]
    return Study(
        facts=facts,
        answer=answer(table, tests, qualities, foreign, shown),
        table=table,
        tests=tests,
        qualities=qualities,
        figures=drawn,
        remarks=[*remarks, *unmeasured(conditions, plan.sizes, table), *too_few],
    )


def planned(options: Options, n_images: int) -> Plan:
    """Return the plan that the options ask for, as far as there are images for it.

    Raises:
        UnreadableSamplesError: There are too few images for any of the sizes.
        UnknownReductionError: There is no such reduction.
    """
    wanted = options.m or (QUICK_SIZES if options.quick else SIZES)
    sizes = sizes_within(n_images, wanted)
    runs = options.runs or (QUICK_RUNS if options.quick else RUNS)
    slow_runs = min(runs, 1 if options.quick else SLOW_RUNS)
    reductions = options.reductions or (QUICK_REDUCTIONS if options.quick else available()[0])
    for name in reductions:
        check_name(name)
    n = min(left_for_reference(n_images, sizes), QUICK_N_REFERENCE if options.quick else N_REFERENCE)
    return Plan(sizes, sorted({*wanted} - {*sizes}), n, runs, slow_runs, reductions, options.seed)


def draw(
    plan: Plan, conditions: Sequence[Condition], tests: DataFrame, table: DataFrame
) -> tuple[dict[str, tuple[str, Figure]], dict[str, Quality]]:
    """Return caption and figure by name, and how good each reduction is."""
    place = shown_condition(conditions)
    split = split_samples(conditions, sizes=plan.sizes, n=plan.n, run=0, seed=plan.seed)
    plane = Plane(split, place, max(plan.sizes), plan.seed)
    panels, qualities = reduction_panels(plane, plan.reductions)
    best = best_reduction(qualities)
    of_detectors = detector_panels(plane, tests, conditions[place].name, best)
    shown = f"{conditions[place].name}, {max(plan.sizes)} images"
    first_of_each = table[table["family"] != NO_DRIFT].drop_duplicates("family")["condition"].tolist()
    drawn = {
        "conditions": ("Examples of each condition", contact_sheet(conditions, seed=plan.seed)),
        "detectors": (
            f"What each detector looks at (features by {best}, log-softmax by PCA), and its p-value: {shown}",
            figures.detector_figure(of_detectors, title=f"Detectors: {shown}"),
        ),
        "reductions": (
            f"Each reduction of the features, and the p-value of a test in its plane: {shown}",
            figures.detector_figure(panels, title=f"Reductions: {shown}"),
        ),
        "power_by_strength": ("Power against the strength of blur", figures.power_by_strength(table)),
        "power_by_size": ("Power against the size of the batch", figures.power_by_size(table, first_of_each)),
        "score_by_strength": ("Score against the strength of blur", figures.score_by_strength(table)),
    }
    return drawn, qualities


def unmeasured(conditions: Sequence[Condition], sizes: Sequence[int], table: DataFrame) -> list[str]:
    """Return a remark for each condition and size for which there were too few images."""
    measured = set(zip(table["condition"], table["m"], strict=True))
    return [
        f"{one.name} at {m} images: there are too few of them."
        for one in conditions
        for m in sizes
        if (one.name, m) not in measured
    ]


def check_folder(out: Path) -> None:
    """Check that a report can be written to a folder, before all the work; raise an OSError if not."""
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "is no folder", str(out))
    above = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not os.access(above, os.W_OK):
        raise PermissionError(errno.EACCES, "nothing can be written to this folder", str(above))
