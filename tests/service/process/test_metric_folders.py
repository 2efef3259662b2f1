"""The folders in which workers add up their metrics: one for each start, and gone after it."""

import subprocess
import sys
from pathlib import Path

from serving.process.metric_files import make_folder
from tests.support.processes import ROOT, environment


def test_services_with_one_home_leave_each_others_metrics_alone(start, store, as_files, held_out):
    """Other services of the same home may be running, too."""
    files, home = as_files(held_out.images[:1]), store / "metrics"

    with start() as first:
        folders = set(home.iterdir())
        before = first.client.post("/classify", files=files)
        port = str(first.client.base_url.port)
        command = [sys.executable, "-m", "bentoml", "serve", ".", "--host", "127.0.0.1", "--port", port]
        busy = subprocess.run(command, cwd=ROOT, env=environment(store), capture_output=True, check=False)
        with start() as second:
            second.client.post("/classify", files=files * 3)
            added = set(home.iterdir()) - folders
            second.process.terminate()
            second.end()
        metrics = first.client.get("/metrics").text
        left = set(home.iterdir())
        first.process.terminate()
        first.end()

    assert (before.status_code, busy.returncode) == (200, 1)
    counted = [
        line for line in metrics.splitlines() if line.startswith("driftbento_images_classified_total{")
    ]
    assert sum(float(line.rpartition(" ")[2]) for line in counted) == 1
    assert len(added) == 1
    assert left == folders
    assert len(set(home.iterdir())) == len(folders) - 1


def test_a_folder_of_metrics_whose_process_was_killed_is_removed_by_the_next_one(tmp_path):
    program = (
        "import sys; from pathlib import Path; from serving.process.metric_files import make_folder;"
        "print(make_folder(Path(sys.argv[1])), flush=True); input()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        folder = Path(process.stdout.readline().strip())
        make_folder(tmp_path)
        while_it_lives = folder.exists()
        process.kill()
    make_folder(tmp_path)

    assert while_it_lives
    assert not folder.exists()


def test_where_the_home_cannot_be_written_metrics_are_among_temporary_files(tmp_path):
    (tmp_path / "file").write_text("")

    folder = Path(make_folder(tmp_path / "file"))

    assert folder.is_dir()
    assert not folder.is_relative_to(tmp_path)
