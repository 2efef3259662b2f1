"""`python -m bench.mutated`: it tries a service with damaged pictures, and says what it would not accept."""

import numpy as np

from bench.damage import IMAGES, mutated, with_checksums
from bench.mutated import Seen, outcomes_of, report

AS_LONG_AS_IT_TAKES = "100000"


def test_damaged_pictures_become_answers_or_problems_and_digits_are_answered(start_benchmark, store):
    options = ("--pictures", "203", "--limit", AS_LONG_AS_IT_TAKES)
    benchmark = start_benchmark("bench.mutated", store, *options)

    printed, errors = benchmark.communicate()

    assert benchmark.returncode == 0, printed + errors
    counts = [int(line.split("│")[2]) for line in printed.splitlines() if line.startswith("│")]
    assert sum(counts) == 203
    assert "digits meanwhile: p50" in printed


def test_without_a_model_it_says_what_to_run(start_benchmark, tmp_path):
    benchmark = start_benchmark("bench.mutated", tmp_path)

    _, errors = benchmark.communicate()

    assert benchmark.returncode == 1
    assert "Run `python -m train mnist" in errors


def test_a_digit_that_waits_too_long_and_a_wrong_answer_fail_it():
    assert report(Seen(seconds=[0.1, 0.2]), limit=250) == 0
    assert report(Seen(seconds=[0.1, 0.3]), limit=250) == 1
    assert report(Seen(seconds=[0.1], complaints=["500"]), limit=250) == 1


def test_each_picture_of_a_request_has_an_outcome():
    problem = {"type": "urn:driftbento:problem:no-digit"}

    assert outcomes_of({"results": [{"label": "1"}, {"error": problem}]}) == ["read", "no-digit"]
    assert outcomes_of(problem | {"image_errors": [{"error": problem}] * 2}) == ["no-digit"] * 2
    assert outcomes_of({"type": "urn:driftbento:problem:internal-error"}) == ["internal-error"]


def test_the_same_number_gives_the_same_damage_and_another_one_other_damage():
    first, again, other = (mutated(np.random.default_rng([0, index])) for index in (1, 1, 2))

    assert first == again
    assert first != other


def test_a_png_whose_checksums_are_set_again_is_the_same_where_it_was_whole():
    whole = IMAGES["PNG RGB"]
    damaged = bytearray(whole)
    damaged[29] ^= 0xFF  # in the checksum of its header

    assert with_checksums(bytes(damaged)) == whole
