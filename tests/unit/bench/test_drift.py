"""`python -m bench.drift`: what it compares finds the same, so that its times are of the same work."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
N, M, N_PERMUTATIONS = 60, 20, 999


@pytest.fixture(scope="module")
def rows() -> dict[str, list[str]]:
    """The printed table: the cells of each implementation's row, by its name."""
    command = [sys.executable, "-m", "bench.drift", "--n", str(N), "--m", str(M)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines()]
    return {row[2]: row for row in cells if row}


def test_every_implementation_has_a_row_with_a_time_a_ratio_and_its_memory(rows):
    assert rows.keys() == {"gaussian", "aggregate", "dense", "TorchDrift", "frouros"}
    for n, m, _, seconds, ratio, memory, _, p_value in rows.values():
        assert (n, m) == (str(N), str(M))
        assert float(seconds.replace(",", "").removesuffix(" ms")) > 0
        assert float(ratio.replace(",", "")) > 0
        assert float(memory.removesuffix(" MB")) >= 0
        assert 0 < float(p_value) <= 1


@pytest.mark.parametrize("peer", ["dense", "TorchDrift", "frouros"])
def test_the_peers_find_the_score_and_p_value_that_the_gaussian_kernel_does(rows, peer):
    """The score to all digits that are shown; the p-value but for the permutations, which differ."""
    score, p_value = map(float, rows["gaussian"][-2:])

    of_peer = [float(cell) for cell in rows[peer][-2:]]

    standard_error = math.sqrt(2 * p_value * (1 - p_value) / N_PERMUTATIONS)
    assert of_peer == [
        pytest.approx(score, abs=2e-6),
        pytest.approx(p_value, abs=4 * standard_error),
    ]
