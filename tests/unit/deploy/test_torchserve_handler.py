"""TorchServe's handler, called as TorchServe calls it."""

import json
import shutil
from pathlib import Path

import pytest

from deploy.torchserve import handler as torchserve
from deploy.torchserve.handler import TorchServeHandler
from serving import problems
from vision import errors


class Context:
    """As much of TorchServe's context as a handler may rely on."""

    def __init__(self, folder: Path) -> None:
        self.system_properties = {"model_dir": str(folder)}
        self.model_yaml_config = {"metadata": {"preprocessing": "digits"}}
        self.statuses = dict[int, tuple[int, str]]()
        self.content_types = dict[int, str]()

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        self.statuses[idx] = code, phrase

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.content_types[idx] = value


@pytest.fixture
def context(model_folder, tmp_path) -> Context:
    """The context of the trained model."""
    shutil.copy(model_folder / "model.pt", tmp_path)
    names = {str(digit): f"digit {digit}" for digit in range(10)}
    (tmp_path / "index_to_name.json").write_text(json.dumps(names))
    return Context(tmp_path)


@pytest.fixture
def handler(context) -> TorchServeHandler:
    loaded = TorchServeHandler()
    loaded.initialize(context)
    return loaded


@pytest.fixture
def digit(held_out, png) -> bytes:
    return png(held_out.images[0])


def test_an_answer_names_the_five_most_probable_classes_best_first(handler, context, digit, held_out):
    (answer,) = handler.handle([{"body": bytearray(digit)}], context)

    assert len(answer) == 5
    assert next(iter(answer)) == f"digit {held_out.labels[0]}"
    assert list(answer.values()) == sorted(answer.values(), reverse=True)
    assert not context.statuses


@pytest.mark.parametrize(("top_k", "n_classes"), [(b"3", 3), ("1", 1), (bytearray(b"1000"), 10)], ids=str)
def test_the_field_top_k_says_how_many_classes(handler, context, digit, top_k, n_classes):
    (answer,) = handler.handle([{"data": bytearray(digit), "top_k": top_k}], context)

    assert len(answer) == n_classes


@pytest.mark.parametrize(
    ("row", "status"),
    [
        ({"data": bytearray(b"no image")}, 422),
        ({"data": bytearray()}, 422),
        ({"body": {"an": "object"}}, 415),
        ({"body": "text"}, 415),
        ({"images": bytearray(b"in another field")}, 415),
        ({}, 415),
        ({"data": bytearray(b"any"), "top_k": bytearray(b"0")}, 400),
        ({"data": bytearray(b"any"), "top_k": bytearray(b"many")}, 400),
        ({"data": bytearray(b"any"), "top_k": bytearray(b"\xff")}, 400),
        ({"data": bytearray(b"any"), "top_k": "9" * 5000}, 400),
    ],
    ids=["no image", "empty", "JSON", "text", "field", "nothing", "zero", "word", "bytes", "long"],
)
def test_a_bad_request_gets_a_problem_and_its_batch_the_answers(handler, context, digit, row, status):
    good = {"data": bytearray(digit)}

    first, problem, last = handler.handle([good, row, good], context)

    assert context.statuses == {1: (status, problem["title"])}
    assert context.content_types == {1: "application/problem+json"}
    assert problem["status"] == status
    assert first == last
    assert len(first) == 5


def test_a_batch_of_bad_requests_alone_needs_no_model(handler, context):
    answers = handler.handle([{}, {}], context)

    assert [answer["status"] for answer in answers] == [415, 415]


def test_each_error_has_the_status_that_the_service_gives_it():
    """The service's own table is not in an archive."""
    of_the_service = {problem.kind: status for problem, status in problems.STATUSES.items()}

    for problem, status in torchserve.STATUSES.items():
        assert (problem, status) == (problem, of_the_service[problem.kind])


def test_each_error_that_an_image_can_have_has_a_status():
    of_all = {error for error in errors.Problem.__subclasses__() if error.__module__ == errors.__name__}
    of_other_things = {errors.AmbiguousFilesError, errors.ModelNotLoadedError}

    assert torchserve.STATUSES.keys() - {torchserve.InvalidTopKError} == of_all - of_other_things


def test_the_module_of_the_handler_has_no_other_class():
    """TorchServe takes a handler for the only class of its module, and refuses a module of several."""
    classes = {kind for kind in vars(torchserve).values() if isinstance(kind, type)}

    assert {kind for kind in classes if kind.__module__ == torchserve.__name__} == {TorchServeHandler}
