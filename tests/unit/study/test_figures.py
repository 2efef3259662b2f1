"""The figures: they show what they promise, and nothing in them covers anything else."""

import math
from itertools import combinations

import matplotlib as mpl
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from study import figures
from study.figures import (
    Panel,
    detector_figure,
    power_by_size,
    power_by_strength,
    save,
    score_by_strength,
)

DETECTORS = [
    "MMD, aggregate",
    "MMD, gaussian",
    "MMD, exponential",
    "MMD, rational quadratic",
    "KS",
    "label shift",
    "TorchDrift MMD",
    "TorchDrift KS",
    "a ninth detector",
]
SIGMAS = [0.3, 0.5, 0.7, 1.0, 1.5]
SIZES = [16, 64, 256]
LONG = "without the digits 3 and 5, of which the model is least sure"


def rows_of(condition: str, family: str, level: float, power: float) -> list[dict]:
    return [
        {
            "condition": condition,
            "family": family,
            "level": level,
            "axis": "standard deviation of the blur, pixels" if family == "Gaussian blur" else None,
            "detector": detector,
            "m": m,
            "runs": 50,
            "p_value": 0.5,
            "alarms": round(50 * min(1, power * math.sqrt(m / 64))) / 50,
            "score": power * 10.0 ** (-index) + 1 / m,
            "seconds": 0.01,
        }
        for index, detector in enumerate(DETECTORS)
        for m in SIZES
    ]


@pytest.fixture
def table() -> pd.DataFrame:
    """A study of nine detectors."""
    rows = rows_of("held-out digits", "no drift", math.nan, 0.04)
    for sigma in reversed(SIGMAS):
        rows += rows_of(f"blur, σ = {sigma}", "Gaussian blur", sigma, sigma / 1.5)
    rows += rows_of("Fashion-MNIST", "out of distribution", math.nan, 1)
    rows += rows_of("letters A–J", "out of distribution", math.nan, 0.9)
    rows += rows_of(
        "without the digits 3 and 5, of which the model is least sure", "knock-out", math.nan, 0.5
    )
    return pd.DataFrame(rows)


@pytest.fixture
def panels() -> list[Panel]:
    """A panel for each of eight detectors on one batch."""
    embedded = torch.randn(80, 2, generator=torch.Generator().manual_seed(0))
    p_values = [0.001, 0.034, 3e-7, 0.001, 0.5, 1.0, 0.0, 1.2e-16]
    return [
        Panel(detector, embedded, torch.arange(80) >= 50, p_value)
        for detector, p_value in zip(DETECTORS, p_values, strict=False)
    ]


@pytest.fixture
def small(panels) -> Figure:
    """A figure that is quickly drawn."""
    return detector_figure(panels[:1], title="One")


def titles(figure: Figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes]


def entries(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def shown_texts(figure: Figure) -> list[Text]:
    """Return all that is written in a figure, without the ticks that lie outside of its axes."""
    figure.draw_without_rendering()
    hidden = {
        tick.label1
        for axis in figure.axes
        for one in (axis.xaxis, axis.yaxis)
        for tick in one.get_major_ticks()
        if not min(one.get_view_interval()) <= tick.get_loc() <= max(one.get_view_interval())
    }
    return [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in hidden
    ]


def assert_readable(figure: Figure) -> None:
    """Fail where one text covers another, the legend covers a plot, or something is cut off."""
    texts = shown_texts(figure)
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    covered = [(a, b) for (a, first), (b, second) in combinations(boxes, 2) if first.overlaps(second)]
    assert not covered
    (legend,) = figure.legends
    assert not any(legend.get_window_extent().overlaps(axis.get_tightbbox()) for axis in figure.axes)
    for said, box in boxes:
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, said
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, said
    assert min(text.get_fontsize() for text in texts) >= 11
    assert figure.bbox.width == 1200


def test_every_detector_has_its_subplot_with_its_p_value(panels):
    figure = detector_figure(panels, title="Gaussian blur, σ = 0.7 pixels, m = 256")

    assert titles(figure)[:3] == [
        "MMD, aggregate: p = 0.001",
        "MMD, gaussian: p = 0.034",
        "MMD, exponential: p = 3e-07",
    ]
    assert len(figure.axes) == 8
    assert entries(figure) == ["reference", "batch"]
    assert {axis.get_xlabel() for axis in figure.axes} == {"first dimension"}
    assert figure.get_supylabel() == "second dimension"
    assert figure.get_suptitle() == "Gaussian blur, σ = 0.7 pixels, m = 256"
    for axis in figure.axes:
        reference, batch = axis.collections
        assert (len(reference.get_offsets()), len(batch.get_offsets())) == (50, 30)
        assert not (reference.get_facecolor()[0, :3] == batch.get_facecolor()[0, :3]).all()
    assert_readable(figure)


def test_the_points_of_a_panel_are_those_that_it_was_given(panels):
    (axis,) = detector_figure(panels[:1], title="One").axes

    drawn = torch.cat([torch.as_tensor(one.get_offsets().data) for one in axis.collections])
    assert torch.allclose(drawn.float(), panels[0].embedded)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_any_number_of_panels_is_readable(panels, count):
    figure = detector_figure(panels[:count], title="What each reduction shows")

    assert len(figure.axes) == count
    assert_readable(figure)


def test_power_by_strength_has_a_line_for_each_detector_from_no_drift_on(table):
    figure = power_by_strength(table)

    assert titles(figure) == ["m = 16", "m = 64", "m = 256"]
    assert entries(figure) == [*DETECTORS, "alpha = 0.05"]
    assert figure.axes[0].get_xlabel() == "standard deviation of the blur, pixels"
    assert figure.get_supylabel() == "share of runs that alarm"
    for axis, m in zip(figure.axes, SIZES, strict=True):
        assert len(axis.containers) == len(DETECTORS)
        for container in axis.containers:
            line, _, (bars,) = container
            expected = table[(table["m"] == m) & (table["detector"] == container.get_label())]
            blurred = expected[expected["family"] == "Gaussian blur"].sort_values("level")
            clean = expected[expected["family"] == "no drift"]
            assert line.get_xdata() == pytest.approx([0, *SIGMAS], abs=0.06)  # moved aside a little
            assert list(line.get_ydata()) == [*clean["alarms"], *blurred["alarms"]]
            for (_, low), (_, high) in bars.get_segments():
                assert 0 <= low < high <= 1
    assert_readable(figure)


def test_error_bars_are_wilson_intervals(table):
    line, _, (bars,) = power_by_strength(table).axes[0].containers[0]

    (_, low), (_, high) = bars.get_segments()[0]
    z, n, share = 1.959964, 50, line.get_ydata()[0]
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=1e-6)


def test_nine_detectors_differ_in_marker_and_in_colour(table):
    lines = [container[0] for container in power_by_strength(table).axes[0].containers]

    assert len({line.get_color() for line in lines}) == 9
    assert len({line.get_marker() for line in lines}) == 9
    assert len({line.get_linestyle() for line in lines}) > 2


def test_power_by_size_has_a_subplot_for_each_condition_that_was_chosen(table):
    figure = power_by_size(table, ["blur, σ = 0.5", "Fashion-MNIST", LONG])

    assert titles(figure)[:2] == ["blur, σ = 0.5", "Fashion-MNIST"]
    assert titles(figure)[2].replace("\n", " ") == LONG
    assert all(axis.get_xscale() == "log" for axis in figure.axes)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["16", "64", "256"]
    for container in figure.axes[1].containers:
        assert container[0].get_xdata() == pytest.approx(SIZES, rel=0.2)
    assert_readable(figure)


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_any_number_of_conditions_is_readable(table, count):
    assert_readable(power_by_size(table, list(table["condition"].unique())[:count]))


def test_scores_have_a_subplot_for_each_detector_and_a_line_for_each_size(table):
    figure = score_by_strength(table)

    assert titles(figure) == DETECTORS
    assert entries(figure) == ["m = 16", "m = 64", "m = 256"]
    for axis in figure.axes:
        assert [list(line.get_xdata()) for line in axis.lines] == [[0, *SIGMAS]] * 3
    assert_readable(figure)


def test_a_study_of_one_size_and_one_strength_is_drawn_too(table):
    few = table[(table["m"] == 64) & table["condition"].isin(["held-out digits", "blur, σ = 0.5"])]

    for figure in (
        power_by_strength(few),
        score_by_strength(few),
        power_by_size(few, ["held-out digits"]),
    ):
        assert_readable(figure)


def test_a_detector_that_was_not_run_at_every_size_is_drawn_where_it_was(table):
    some = table[~((table["detector"] == "KS") & (table["m"] == 16))]

    first, second, _ = power_by_strength(some).axes

    lines = {container.get_label(): container[0] for container in first.containers}
    assert len(lines["KS"].get_xdata()) == 0
    assert len(second.containers) == len(first.containers)


def test_ticks_that_would_stand_in_each_other_are_thinned_out(table):
    crowded = [row for step in range(1, 30) for row in rows_of("blur", "Gaussian blur", step / 7, 0.5)]

    assert_readable(power_by_strength(pd.concat([table, pd.DataFrame(crowded)])))


@pytest.mark.parametrize(
    "draw",
    [
        lambda table: power_by_strength(table, family="fog"),
        lambda table: score_by_strength(table, family="fog"),
        lambda table: power_by_size(table, ["fog"]),
    ],
)
def test_a_figure_of_what_was_not_studied_is_refused(table, draw):
    with pytest.raises(ValueError, match="fog"):
        draw(table)


def test_the_same_figure_makes_the_same_files(panels, tmp_path):
    for name in ("first", "second"):
        with mpl.rc_context({"font.size": 30, "savefig.dpi": 40} if name == "second" else {}):
            save(detector_figure(panels[:2], title="Twice"), tmp_path, name)

    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()
    assert (tmp_path / "first.png").read_bytes().startswith(b"\x89PNG")
    assert b"<text" not in (tmp_path / "first.svg").read_bytes()  # letters are paths
    assert len(list(tmp_path.iterdir())) == 4


def test_saving_the_same_figure_again_changes_nothing(small, tmp_path):
    save(small, tmp_path, "figure")
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]

    save(small, tmp_path, "figure")

    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before


def test_a_figure_that_cannot_be_drawn_leaves_the_old_files_as_they_were(small, tmp_path, monkeypatch):
    (tmp_path / "figure.png").write_text("old")
    real = Figure.savefig

    def fail_at_svg(figure, stream, *, format, **settings):  # noqa: A002 # as matplotlib calls it
        if format == "svg":
            stream.write(b"<svg")
            raise OSError("no space left")
        real(figure, stream, format=format, **settings)

    monkeypatch.setattr(Figure, "savefig", fail_at_svg)
    with pytest.raises(OSError, match="no space"):
        save(small, tmp_path, "figure")

    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]
    assert (tmp_path / "figure.png").read_text() == "old"


def test_a_figure_that_cannot_be_written_leaves_nothing_half_written(small, tmp_path):
    (tmp_path / "figure.png").mkdir()  # nothing can be renamed to this

    with pytest.raises(OSError, match="directory"):
        save(small, tmp_path, "figure")

    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


def test_drawing_leaves_the_users_own_settings_alone(panels, tmp_path):
    before = dict(mpl.rcParams)

    save(detector_figure(panels[:1], title="One"), tmp_path, "figure")

    assert dict(mpl.rcParams) == before
    assert figures.DPI * figures.WIDTH == 1200
