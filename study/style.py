"""The style of the figures: lines that differ by more than colour, and no setting of the user's own."""

from typing import Any

# Okabe & Ito, Color Universal Design (2008), with grey in place of its yellow, which is faint on white, and
# with a brown. The first are the easiest to tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#000000", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f", "#7a4b16")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")
LINES = ("-", "--", "-.", (0, (1, 1.2)))
POINT: dict[str, Any] = {"s": 22, "linewidths": 0}
REFERENCE = POINT | {"label": "reference", "color": COLOURS[0], "marker": "o", "alpha": 0.45}
BATCH = POINT | {"label": "batch", "color": COLOURS[1], "marker": "^", "alpha": 0.75}

# A user's own matplotlibrc would make another picture of the same study.
STYLE: Any = {  # matplotlib's type for this lists the name of every setting
    "font.family": "DejaVu Sans",  # shipped with matplotlib
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 12,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "legend.handlelength": 2.8,
    "figure.constrained_layout.w_pad": 0.12,  # inches
    "figure.constrained_layout.h_pad": 0.08,
    "figure.titlesize": 15,
    "figure.labelsize": 12,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 6.5,
    "text.usetex": False,
    "savefig.facecolor": "auto",
    "savefig.bbox": None,
    "svg.fonttype": "path",  # letters look the same where the font is not installed
    "svg.hashsalt": "drift study",  # instead of a random one
}


def line_style(index: int) -> dict[str, Any]:
    """Return colour, line and marker; no two of the first 36 lines have the same."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": LINES[index % len(LINES)],
    }
