"""The command-line client, against a real service."""

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cli.client import main

OK, ERROR, DRIFT = 0, 2, 3


@pytest.fixture
def url(service, monkeypatch) -> None:
    monkeypatch.setenv("DRIFTBENTO_URL", str(service.base_url))
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def folder(tmp_path, held_out) -> Path:
    """130 held-out digits, one of them in a folder of its own, and a file that is no image."""
    for index, image in enumerate(held_out.images[:129]):
        Image.fromarray(image.numpy()).save(tmp_path / f"{index:04d}.png")
    (tmp_path / "more").mkdir()
    Image.fromarray(held_out.images[129].numpy()).save(tmp_path / "more" / "last.PNG")
    (tmp_path / "notes.txt").write_text("not for the service")
    return tmp_path


@pytest.mark.usefixtures("url")
def test_a_table_shows_the_label_of_every_file(folder, held_out, capsys):
    status = main(["classify", str(folder / "0000.png"), str(folder / "0001.png")])

    assert status == OK
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if ".png" in line]
    assert [(row[1].strip(), row[2].strip()) for row in rows] == [
        ("0000.png", str(held_out.labels[0].item())),
        ("0001.png", str(held_out.labels[1].item())),
    ]


@pytest.mark.usefixtures("url")
def test_a_folder_stands_for_its_images_however_many_requests_that_takes(folder, held_out, capsys):
    status = main(["classify", "--json", "--top-k", "2", str(folder)])

    assert status == OK
    answer = json.loads(capsys.readouterr().out)
    assert answer["model"].startswith("mnist:")
    assert [result["index"] for result in answer["results"]] == list(range(130))
    assert answer["results"][129]["filename"] == str(Path("more") / "last.PNG")
    right = sum(
        result["class_id"] == label
        for result, label in zip(answer["results"], held_out.labels[:130].tolist(), strict=True)
    )
    assert right >= 0.95 * 130


@pytest.mark.usefixtures("url")
def test_a_file_that_is_no_image_is_an_error_in_its_row_and_in_the_status(folder, capsys):
    status = main(["classify", str(folder / "0000.png"), str(folder / "notes.txt")])

    assert status == ERROR
    assert "text/plain" in capsys.readouterr().out


@pytest.mark.usefixtures("url")
def test_a_doubtful_answer_shows_its_warning_and_a_blank_sheet_its_error(
    held_out, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")
    pair = np.pad(np.hstack([*held_out.images[:2].numpy()]), 20)
    Image.fromarray(pair).save(tmp_path / "pair.png")
    Image.new("L", (100, 100), 255).save(tmp_path / "blank.png")

    status = main(["classify", str(tmp_path)])

    shown = " ".join(capsys.readouterr().out.split())
    assert status == ERROR
    assert "warning" in shown
    assert "one digit at a time" in shown
    assert "nothing on this image" in shown


@pytest.mark.usefixtures("url")
def test_files_of_which_none_is_an_image_have_an_error_each(tmp_path, capsys):
    names = ["a.png", "b.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"?")

    status = main(["classify", "--json", *(str(tmp_path / name) for name in names)])

    assert status == ERROR
    results = json.loads(capsys.readouterr().out)["results"]
    assert [(result["filename"], result["error"]["status"]) for result in results] == [
        ("a.png", 422),
        ("b.png", 422),
    ]


@pytest.mark.usefixtures("url")
def test_the_status_tells_drift_from_no_drift(folder, tmp_path_factory, capsys):
    blurred = tmp_path_factory.mktemp("blurred")
    for path in folder.glob("*.png"):
        Image.open(path).filter(ImageFilter.GaussianBlur(2)).save(blurred / path.name)

    assert main(["drift", str(folder)]) == OK
    assert "no drift" in capsys.readouterr().out
    assert main(["drift", str(blurred)]) == DRIFT
    assert "p ≤ alpha 0.05" in capsys.readouterr().out


@pytest.mark.usefixtures("url")
@pytest.mark.parametrize(("detector", "says"), [("ks", "Kolmogorov-Smirnov"), ("label_shift", "expected")])
def test_the_other_detectors_show_the_classes_that_moved(folder, capsys, detector, says):
    status = main(["drift", "--detector", detector, str(folder)])

    shown = capsys.readouterr().out
    assert status in (OK, DRIFT)
    assert says in shown
    assert "Class" in shown


@pytest.mark.usefixtures("url")
def test_an_image_left_out_of_a_drift_test_is_named_and_shows_in_the_status(folder, capsys):
    (folder / "bad[red].png").write_bytes(b"?")

    status = main(["drift", str(folder)])

    assert status == ERROR
    assert "bad[red].png" in capsys.readouterr().out


@pytest.fixture
def untrained() -> Iterator[str]:
    """The address of a service whose model has random weights."""
    common = {"model": "resnet:1", "trained": False}
    picture = {
        "index": 0,
        "filename": "a.png",
        "top": [{"label": "cat", "probability": 1.0}],
        "warning": None,
    }
    verdict = {
        "is_drift": False,
        "alpha": 0.05,
        "n_permutations": 999,
        "p_value": 0.5,
        "score": 0.0,
        "detector": "mmd",
        "n_batch": 2,
        "n_reference": 9,
        "driving_images": [],
        "class_distances": [],
        "class_counts": [],
        "image_errors": [],
    }
    answers = {"/classify": common | {"results": [picture]}, "/drift": common | verdict}

    class Service(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answers[self.path]).encode())

        def log_message(self, *_):
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Service) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("command", ["classify", "drift"])
def test_a_model_that_has_learnt_nothing_is_said_to_be_untrained(command, untrained, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"?")
    arguments = [command, "--url", untrained, str(tmp_path / "a.png")]

    assert main(arguments) == OK
    table = " ".join(capsys.readouterr().out.split())
    assert main([*arguments, "--json"]) == OK
    answer = json.loads(capsys.readouterr().out)

    assert "This model is untrained" in table
    assert answer["trained"] is False


@pytest.mark.usefixtures("url")
def test_nothing_is_said_of_a_trained_model(folder, capsys):
    main(["classify", str(folder / "0000.png")])
    assert "untrained" not in capsys.readouterr().out
    main(["classify", "--json", str(folder / "0000.png")])
    assert json.loads(capsys.readouterr().out)["trained"] is True


@pytest.mark.usefixtures("url")
def test_a_name_that_is_no_text_is_sent_with_its_bytes_written_out(folder, capsys):
    odd = folder / os.fsdecode(b"caf\xe9.png")
    odd.write_bytes((folder / "0000.png").read_bytes())

    status = main(["classify", "--json", str(odd)])

    assert status == OK
    assert json.loads(capsys.readouterr().out)["results"][0]["filename"].startswith("caf")


def test_another_service_is_told_from_this_one(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"?")

    class Other(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'["hello"]')

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        status = main(["classify", "--url", url, str(tmp_path / "a.png")])

    assert status == ERROR
    assert "another service" in capsys.readouterr().err


@pytest.mark.usefixtures("url")
def test_the_drift_answer_as_json_is_the_services_own(folder, capsys):
    status = main(["drift", "--json", "--n-permutations", "199", "--alpha", "0.01", str(folder)])

    assert status == OK
    answer = json.loads(capsys.readouterr().out)
    assert (answer["n_batch"], answer["n_permutations"], answer["alpha"]) == (130, 199, 0.01)


@pytest.mark.usefixtures("url")
def test_an_array_of_images_is_sent_as_the_file_that_it_is(tmp_path, held_out, capsys):
    np.save(tmp_path / "batch.npy", held_out.images[:40].numpy())

    assert main(["drift", str(tmp_path / "batch.npy")]) == OK


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["classify", "missing.png"], "missing.png: No such file"),
        (["classify", "empty"], "There is no image in"),
        (["classify", "--model", "vgg", "one.png"], "There is no model 'vgg'"),
        (["drift", "one.png"], "at least 2 samples"),
        (["drift", "--alpha", "7", "one.png"], "alpha"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("url")
def test_what_goes_wrong_is_said_in_a_sentence(arguments, says, tmp_path, monkeypatch, held_out, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    Image.fromarray(held_out.images[0].numpy()).save(tmp_path / "one.png")

    status = main(arguments)

    assert status == ERROR
    assert says in capsys.readouterr().err


def test_without_a_service_the_client_says_how_to_start_one(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"?")

    status = main(["classify", "--url", "http://127.0.0.1:9", str(tmp_path / "a.png")])

    assert status == ERROR
    assert "./scripts/serve" in capsys.readouterr().err
