"""`python -m bench.interference`: its table, and that nothing it started is left over, however it ends."""


def number_in(cell: str) -> float:
    return float(cell.removesuffix(" ms").replace(",", ""))


def test_the_table_shows_classify_alone_and_beside_drift(start_benchmark, still_running, store):
    benchmark = start_benchmark(
        "bench.interference", store, "--seconds", "1", "--clients", "2", "--drift-clients", "0", "1"
    )

    printed, _ = benchmark.communicate()

    assert benchmark.returncode == 0
    lines = [line for line in printed.splitlines() if line.startswith("│")]
    alone, beside = ([cell.strip() for cell in line.split("│")[1:-1]] for line in lines)
    for row, drift_clients in ((alone, "0"), (beside, "1")):
        median, p99, longest, per_second = map(number_in, row[2:6])
        assert row[:2] == ["2", drift_clients]
        assert 0 < median <= p99 <= longest
        assert per_second > 0
        assert row[6] == "0"
    assert alone[7:] == ["", ""]
    assert all(number_in(cell) > 0 for cell in beside[7:])
    assert still_running() == []


def test_all_that_it_started_ends_with_it_when_it_is_interrupted(start_benchmark, interrupt, store):
    benchmark = start_benchmark("bench.interference", store, "--drift-clients", "1")

    interrupt(benchmark, lambda commands: sum("bench.load" in command for command in commands) == 2)


def test_a_store_without_a_model_is_an_error_that_says_how_to_train_one(start_benchmark, tmp_path):
    benchmark = start_benchmark("bench.interference", tmp_path)

    _, errors = benchmark.communicate()

    assert benchmark.returncode == 1
    assert "python -m train mnist" in errors
