"""Answers as tables for people, who get no JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from cli.terminal import DRIFT, ERROR, OK, Terminal

if TYPE_CHECKING:  # it loads torch, which takes seconds, and the client does without
    from drift.certificate import AlarmRate, Certificate

STATISTICS = {
    "mmd": "MMD²",
    "ks": "largest Kolmogorov-Smirnov D",
    "label_shift": "χ² of the predicted classes",
}


def classify_table(known: Mapping[str, Any], results: Sequence[dict[str, Any]]) -> Table:
    """Return results as a table, a row for each class of each image.

    Args:
        known: The model's name and version as `model`, and as `trained` whether its weights are trained.
        results: The results of the service.
    """
    table = Table("File", "Label", "Probability", title=known["model"], caption=untrained_warning(known))
    for result in results:
        if "error" in result:
            detail = escape(result["error"]["detail"])
            table.add_row(escape(result["filename"]), "[red]error[/]", f"[red]{detail}[/]")
            continue
        for place, prediction in enumerate(result["top"]):
            name = "" if place else escape(result["filename"])
            table.add_row(name, escape(prediction["label"]), f"{prediction['probability']:.4f}")
        if result["warning"]:
            table.add_row("", "[yellow]warning[/]", f"[yellow]{escape(result['warning']['detail'])}[/]")
    return table


def untrained_warning(answer: Mapping[str, Any]) -> str | None:
    """Return the caption of answers of a model whose weights are random; None for other models."""
    trained = answer["trained"] is not False
    return None if trained else "[red]This model is untrained: its answers mean nothing.[/]"


def show_drift(answer: dict[str, Any], *, as_json: bool) -> int:
    """Print an answer of a drift test, and return the exit status that tells its verdict."""
    if as_json:
        print(json.dumps(answer, indent=2))
    else:
        Terminal().print(drift_table(answer))
    if answer["is_drift"]:
        return DRIFT
    return ERROR if answer["image_errors"] else OK


def drift_table(answer: dict[str, Any]) -> Table:
    table = Table(title=answer["model"], caption=untrained_warning(answer), show_header=False)
    verdict = "[bold red]drift[/]" if answer["is_drift"] else "[bold green]no drift[/]"
    table.add_row("Verdict", f"{verdict} (p {'≤' if answer['is_drift'] else '>'} alpha {answer['alpha']:g})")
    permutations = answer["n_permutations"]
    origin = f", from {permutations} permutations" if permutations else ""
    table.add_row("p-value", f"{answer['p_value']:.4g}{origin}")
    table.add_row("Score", f"{answer['score']:.4g} ({STATISTICS[answer['detector']]})")
    table.add_row("Images", f"{answer['n_batch']} against {answer['n_reference']} of the reference")
    if answer["driving_images"]:
        foremost = (image["filename"] for image in answer["driving_images"][:5])
        table.add_row("Driven by", escape(", ".join(foremost)))
    for moved in answer["class_distances"][:5]:
        table.add_row(f"Class {escape(moved['label'])}", f"D {moved['distance']:.3f}")
    for moved in answer["class_counts"][:5]:
        counts = f"{moved['observed']} found, {moved['expected']:.1f} expected"
        table.add_row(f"Class {escape(moved['label'])}", counts)
    for failed in answer["image_errors"]:
        table.add_row("[red]Left out[/]", escape(f"{failed['filename']}: {failed['error']['detail']}"))
    return table


def certificate_table(certificate: "Certificate") -> Table:
    """Return a certificate as a table, a row for each size of batch."""
    alphas = sorted({one.alpha for one in certificate.false_alarms}, reverse=True)
    table = Table(
        "Images",
        *(f"Alarms at {alpha:g}" for alpha in alphas),
        title="How often batches raise an alarm without drift, with 95 % intervals",
        caption=caption(certificate),
    )
    table.add_column("Disjoint batches", justify="right")
    blurs = {blur.m: blur for blur in certificate.blurs}
    if blurs:
        table.add_column("Smallest blur found")
    by_size = {one.m: one for one in certificate.false_alarms}
    for m, any_alpha in by_size.items():
        rates = {one.alpha: one.alarms for one in certificate.false_alarms if one.m == m}
        cells = [str(m), *(interval(rates[alpha]) for alpha in alphas), str(any_alpha.n_disjoint)]
        if m in blurs:
            sigma, share = blurs[m].sigma, f"{blurs[m].alarms.rate:.0%}"
            cells.append(f"none ({share} of the strongest)" if sigma is None else f"σ {sigma:g} px ({share})")
        table.add_row(*cells)
    return table


def caption(certificate: "Certificate") -> str:
    said = (
        f"Kernel {certificate.kernel}. {certificate.n_batches:,} batches of each size, drawn from "
        f"{certificate.n_held_out:,} held-out samples; where few of them can be disjoint, more is unknown "
        "than the interval says."
    )
    if certificate.blurs:
        said += (
            f" Blur counts as found in {certificate.power:.0%} of {certificate.n_blurred_batches:,} batches, "
            f"at alpha {certificate.power_alpha:g}."
        )
    return said


def interval(rate: "AlarmRate") -> str:
    return f"{rate.rate:.1%} ({rate.low:.1%}–{rate.high:.1%})"
