"""BentoML's own clients: they find the endpoints, and get the answers that everybody gets."""

import ast
import asyncio
import io
import shutil
from pathlib import Path

import bentoml
import httpx
import numpy as np
import pytest
from bentoml.exceptions import BentoMLException, InvalidArgument

from serving import __version__
from tests.support.documentation import blocks


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, held_out, png) -> list[Path]:
    """Files of 32 digits."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{index:04d}.png" for index in range(32)]
    for path, image in zip(paths, held_out.images, strict=False):
        path.write_bytes(png(image))
    return paths


@pytest.fixture(scope="module")
def bentomls(service):
    """BentoML's client of the service."""
    with bentoml.SyncHTTPClient(str(service.base_url), timeout=60) as client:
        yield client


def posted(service: httpx.Client, path: str, files: list[Path], **fields: str) -> dict:
    """Return what any other client is answered."""
    parts = [("images", (file.name, file.read_bytes())) for file in files]
    return service.post(path, files=parts, data=fields).json()


@pytest.mark.parametrize("fields", [{}, {"top_k": 3}, {"model": "mnist", "top_k": 2}], ids=str)
def test_bentomls_client_classifies_as_any_other(service, bentomls, pictures, fields):
    answer = bentomls.classify(images=pictures[:5], **fields)

    texts = {name: str(value) for name, value in fields.items()}
    assert answer == posted(service, "/classify", pictures[:5], **texts)
    assert len(answer["results"][0]["top"]) == fields.get("top_k", 1)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"detector": "ks", "alpha": 0.01},
        {"model": "mnist", "kernel": "gaussian", "n_permutations": 99},
        {"detector": "label_shift", "n_permutations": None},
    ],
    ids=str,
)
def test_bentomls_client_tests_for_drift_as_any_other(service, bentomls, pictures, fields):
    answer = bentomls.drift(images=pictures, **fields)

    texts = {name: str(value) for name, value in fields.items() if value is not None}
    assert answer == posted(service, "/drift", pictures, **texts)
    assert answer["detector"] == fields.get("detector", "mmd")


def test_bentomls_client_sends_a_batch_in_one_file(service, bentomls, tmp_path, held_out):
    path = tmp_path / "batch.npz"
    np.savez(path, images=held_out.images[:32].numpy())

    assert bentomls.drift(images=[path]) == posted(service, "/drift", [path])


def test_the_example_of_the_documentation_works(service, pictures, held_out, tmp_path, monkeypatch, capsys):
    (example,) = (block.code for block in blocks("python") if "SyncHTTPClient" in block.code)
    (tmp_path / "samples" / "digits").mkdir(parents=True)
    shutil.copy(pictures[0], tmp_path / "samples" / "digits")
    np.savez(tmp_path / "samples" / "blurred.npz", images=held_out.images[:32].numpy())
    monkeypatch.chdir(tmp_path)

    exec(example.replace("http://localhost:3000", str(service.base_url)), {})  # noqa: S102 - it is ours

    classified, tested = map(ast.literal_eval, capsys.readouterr().out.splitlines())
    assert len(classified["results"][0]["top"]) == 2
    assert tested["n_batch"] == 32


def test_bentomls_client_that_waits_for_nobody_is_answered_too(service, pictures):
    async def ask() -> tuple[dict, dict]:
        async with bentoml.AsyncHTTPClient(str(service.base_url), timeout=60) as client:
            return await client.classify(images=pictures[:2]), await client.drift(images=pictures)

    classified, tested = asyncio.run(ask())

    assert classified == posted(service, "/classify", pictures[:2])
    assert tested == posted(service, "/drift", pictures)


def test_bentomls_client_meets_the_limits_and_errors_of_today(bentomls, pictures, tmp_path):
    text = tmp_path / "letter.png"
    text.write_bytes(b"Dear reader")

    with pytest.raises(InvalidArgument, match="top_k"):
        bentomls.classify(images=pictures[:1], top_k=0)
    with pytest.raises(InvalidArgument, match="text where a file belongs"):
        bentomls.classify(images=[pictures[0], "http://127.0.0.1/digit.png"])
    with pytest.raises(BentoMLException, match="urn:driftbento:problem:undecodable-image"):
        bentomls.classify(images=[text])
    with pytest.raises(BentoMLException, match="urn:driftbento:problem:too-large"):
        bentomls.classify(images=[text] * 1001)
    with pytest.raises(TypeError, match="psychic"):
        bentomls.drift(images=pictures, psychic=True)


def test_bentomls_client_shows_a_key_where_one_is_needed(store, serve, pictures):
    with serve(store, ready="/livez", API_KEYS="alice=" + "k" * 40) as service:
        with bentoml.SyncHTTPClient(str(service.base_url), token="k" * 40) as client:
            answer = client.classify(images=pictures[:1])
        with pytest.raises(BentoMLException):
            bentoml.SyncHTTPClient(str(service.base_url))

    assert len(answer["results"]) == 1


def test_the_schema_lists_what_the_document_of_the_api_does(service):
    routes = {route["route"]: route for route in service.get("/schema.json").json()["routes"]}
    document = service.get("/docs.json").json()

    assert routes.keys() == {"/classify", "/drift"}
    for path, route in routes.items():
        form = document["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert route["input"]["properties"].keys() == form["properties"].keys()
        assert route["input"]["required"] == form["required"]
        answer = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        schema = document["components"]["schemas"][answer["$ref"].rpartition("/")[2]]
        assert route["output"]["properties"].keys() == schema["properties"].keys()


def test_the_document_says_which_version_of_the_service_it_describes(service):
    assert service.get("/docs.json").json()["info"]["version"] == __version__


@pytest.mark.parametrize("body", [{"images": []}, {"images": ["http://127.0.0.1/a.png"]}], ids=str)
def test_what_bentoml_would_take_beside_forms_is_not_a_second_way_in(service, body):
    pickled = {"content-type": "application/vnd.bentoml+pickle"}

    answers = [
        service.post("/classify", json=body),
        service.post("/classify", content=b"\x80\x05N.", headers=pickled),
        service.post("/drift/submit", json=body),
    ]

    assert [answer.status_code for answer in answers] == [415, 415, 404]


@pytest.mark.parametrize("value", ['"', '"mnist', '""mnist""', '"\\ud800"', "null", '"null"', "[]"])
def test_a_name_in_damaged_json_is_no_name(service, png, held_out, value):
    files = {"images": ("a.png", io.BytesIO(png(held_out.images[0])))}

    response = service.post("/classify", files=files, data={"model": value})

    assert response.status_code in {400, 404}
    assert response.headers["content-type"] == "application/problem+json"
