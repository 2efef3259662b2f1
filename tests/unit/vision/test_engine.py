"""Engines: as fast as the processor allows, and only as long as the golden answers come out."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vision.errors import ModelNotLoadedError
from vision.models import engine as engines
from vision.models.engine import TOLERANCES, load_engine

BOTH = ("float32", "bfloat16")


class Small(nn.Module):
    """A network of one convolution, whose weights may be of either precision."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 8, 3)
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pixels = (images.float() / 255).to(self.head.weight.dtype)
        features = self.convolution(pixels).relu().mean(dim=[2, 3])
        return self.head(features).float(), features.float()


@pytest.fixture
def script(tmp_path):
    """The file of a small script, and its golden answers."""
    torch.manual_seed(0)
    scripted = torch.jit.script(Small().eval())
    path = tmp_path / "model.pt"
    torch.jit.save(scripted, str(path))
    images = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8)
    with torch.inference_mode():
        logits, features = scripted(images)
    return path, {"images": images, "logits": logits, "features": features}


def test_every_number_of_images_gets_the_answers_of_the_script(script):
    path, golden = script
    engine = load_engine(path, golden, takes=["float32"], precision="float32")
    plain = torch.jit.load(str(path)).eval()

    for count in (1, 2, 7, 8, 9, 31, 33, 100):
        images = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8)
        logits, features = engine(images)

        expected_logits, expected_features = plain(images)
        torch.testing.assert_close(logits, expected_logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(features, expected_features, rtol=1e-4, atol=1e-5)


def test_a_small_network_takes_many_images_at_a_time_and_a_large_one_takes_them_one_by_one(
    script, resnet_home
):
    path, golden = script
    (folder,) = (resnet_home / "models" / "resnet").glob("*/model.pt")
    large = load_file(folder.parent / "golden.safetensors")

    assert load_engine(path, golden, takes=["float32"], precision="float32").sizes == (1, 8, 32)
    assert load_engine(folder, large, takes=BOTH, precision="float32").sizes == (1,)


@pytest.mark.parametrize("precision", BOTH)
def test_the_precision_that_is_asked_for_is_taken(script, precision):
    path, golden = script

    engine = load_engine(path, golden, takes=BOTH, precision=precision)

    assert engine.precision == precision
    logits, _ = engine(golden["images"])
    off = (logits - golden["logits"]).abs().max()
    assert off <= TOLERANCES[precision]
    assert (off > 1e-6) == (precision == "bfloat16")


def test_a_script_that_takes_float32_alone_is_given_that(script):
    path, golden = script

    assert load_engine(path, golden, takes=["float32"], precision="bfloat16").precision == "float32"
    assert load_engine(path, golden, takes=["float32"], precision="auto").precision == "float32"


@pytest.mark.parametrize(
    ("fast", "chosen"), [("float32", "float32"), ("bfloat16", "bfloat16")], ids=lambda name: name
)
def test_left_to_itself_the_faster_precision_is_taken(script, monkeypatch, fast, chosen):
    path, golden = script
    monkeypatch.setattr(engines, "has_bfloat16", lambda: True)
    monkeypatch.setattr(engines, "seconds", lambda engine, _: 1e-4 if engine.precision == fast else 9e-4)

    assert load_engine(path, golden, takes=BOTH, precision="auto").precision == chosen


def test_left_to_itself_nothing_is_taken_that_the_processor_does_not_have(script, monkeypatch):
    path, golden = script
    monkeypatch.setattr(engines, "has_bfloat16", lambda: False)
    monkeypatch.setattr(engines, "seconds", lambda engine, _: 1.0 if engine.precision == "float32" else 0.1)

    assert load_engine(path, golden, takes=BOTH, precision="auto").precision == "float32"


def test_a_precision_that_does_not_give_the_golden_answers_is_left_alone(script, monkeypatch):
    path, golden = script
    monkeypatch.setitem(engines.TOLERANCES, "bfloat16", 0.0)
    monkeypatch.setattr(engines, "has_bfloat16", lambda: True)

    assert load_engine(path, golden, takes=BOTH, precision="auto").precision == "float32"
    with pytest.raises(ModelNotLoadedError, match="In bfloat16 the model does not give the answers"):
        load_engine(path, golden, takes=BOTH, precision="bfloat16")


def test_where_operations_cannot_be_fused_the_network_is_run_without(script, monkeypatch):
    path, golden = script
    whole = engines.check_golden

    def refuse_fused(engine, answers) -> None:
        if engine.fused:
            raise RuntimeError("could not create a primitive")
        whole(engine, answers)

    monkeypatch.setattr(engines, "check_golden", refuse_fused)

    engine = load_engine(path, golden, takes=["float32"], precision="float32")

    assert not engine.fused
    torch.testing.assert_close(engine(golden["images"])[0], golden["logits"], rtol=1e-4, atol=1e-5)


def test_scripts_that_are_run_beside_an_engine_give_what_they_gave(script):
    """OneDNN takes weights for constants: fused without being frozen, a script would give wrong answers."""
    path, golden = script
    load_engine(path, golden, takes=["float32"], precision="float32")
    torch.manual_seed(1)
    other = Small().eval()
    scripted = torch.jit.script(other)

    for _ in range(4):
        torch.testing.assert_close(scripted(golden["images"]), other(golden["images"]))


def test_threads_that_run_an_engine_at_the_same_time_get_what_one_alone_gets(script):
    path, golden = script
    engine = load_engine(path, golden, takes=["float32"], precision="float32")
    batches = [torch.randint(0, 256, (1 + index % 40, 1, 28, 28), dtype=torch.uint8) for index in range(200)]
    expected = [engine(batch)[0] for batch in batches]

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda batch: engine(batch)[0], batches))

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
