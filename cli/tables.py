"""What people would rather look at than JSON."""

from rich.table import Table

from drift.certificate import AlarmRate, Certificate


def certificate_table(certificate: Certificate) -> Table:
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


def caption(certificate: Certificate) -> str:
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


def interval(rate: AlarmRate) -> str:
    return f"{rate.rate:.1%} ({rate.low:.1%}–{rate.high:.1%})"
