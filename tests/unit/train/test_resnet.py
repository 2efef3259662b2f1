"""The scripted ResNet: torchvision's answers in another form, and weights only from where they may come."""

import io
import pickle
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from torchvision.models import get_model_weights

from cli.train import main
from train.resnet import ARCHITECTURES, PhotographClassifier, load_network
from vision.models.classifier import load_classifier, stacked
from vision.models.engine import TOLERANCES
from vision.preprocessing.imagenet import crop_photograph

BOTH = ["float32", "bfloat16"]
SIZES = {"resize_size": 256, "crop_size": 224}


@pytest.fixture
def store(tmp_path):
    """An empty model store, in this process."""
    (tmp_path / "models").mkdir()
    BentoMLContainer.model_store.set(ModelStore(tmp_path / "models"))
    yield tmp_path / "models"
    BentoMLContainer.model_store.reset()


@pytest.fixture(scope="session")
def resnet_folder(resnet_home) -> Path:
    """The files of a ResNet that tells the photographs apart."""
    models = resnet_home / "models" / "resnet"
    return models / (models / "latest").read_text()


def stored(store: Path):
    """Return the one ResNet of a store, loaded, and its metadata."""
    entry = ModelStore(store).get("resnet:latest")
    metadata = entry.info.metadata
    return load_classifier(Path(entry.path), "resnet", str(entry.tag.version), metadata), metadata


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_stored_model_finds_the_classes_that_torchvisions_own_finds(arch, store, photographs):
    """In torchvision's own words: its network, with the transform of its weights."""
    network, _ = load_network(arch, "random", seed=0)
    transform = get_model_weights(arch).DEFAULT.transforms()
    with torch.inference_mode():
        expected = network(torch.stack([transform(photograph) for photograph in photographs]))

    assert main(["resnet", "--arch", arch, "--weights", "random"]) == 0
    classifier, _ = stored(store)
    logits, _ = classifier.engine(
        stacked([classifier.preparation.prepare(one).pixels for one in photographs])
    )

    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()
    assert logits.topk(5).indices.equal(expected.topk(5).indices)


@pytest.mark.thorough
def test_bfloat16_finds_the_same_class_in_500_pictures_but_for_five_at_most(resnet_folder, crops):
    metadata = {"preprocessing": "photograph", "precisions": BOTH, **SIZES}
    exact, fast = (
        load_classifier(resnet_folder, "resnet", "1", metadata, precision=precision) for precision in BOTH
    )
    images = [crop_photograph(image, **SIZES) for image in crops(500, 3)]

    expected, expected_features = exact.predict(images)
    found, features = fast.predict(images)

    assert fast.engine.precision == "bfloat16"
    truth = torch.arange(500) % 9
    assert (expected.argmax(1) == truth).float().mean() > 0.8  # of classes that are really told apart
    assert (found.argmax(1) == expected.argmax(1)).float().mean() >= 0.99
    off = (features - expected_features).abs().max() / expected_features.abs().max()
    assert off < TOLERANCES["bfloat16"]


def test_the_channels_of_a_batch_lie_side_by_side(photographs):
    images = [crop_photograph(photograph, **SIZES) for photograph in photographs]

    batch = stacked(images)

    assert batch.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(batch.numpy(), np.stack(images))


def test_random_weights_are_marked_and_the_same_for_a_seed(store):
    main(["resnet", "--weights", "random", "--seed", "3"])
    first, metadata = stored(store)
    main(["resnet", "--weights", "random", "--seed", "3"])
    second, _ = stored(store)
    image = torch.full((1, 3, 224, 224), 90, dtype=torch.uint8)

    assert metadata["trained"] is False
    assert metadata["weights"] == "random, seed 3"
    assert not first.trained
    assert first.reference is None
    assert first.engine(image)[0].equal(second.engine(image)[0])
    assert len(first.labels) == 1000
    assert first.labels[207] == "golden retriever"


def test_weights_that_torchvision_has_downloaded_before_are_taken_from_its_cache(
    store, monkeypatch, tmp_path
):
    network, _ = load_network("resnet18", "random", seed=5)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    name = Path(get_model_weights("resnet18").DEFAULT.url).name
    torch.save(network.state_dict(), tmp_path / "hub" / "checkpoints" / name)

    assert main(["resnet"]) == 0

    classifier, metadata = stored(store)
    assert metadata["weights"] == "ResNet18_Weights.IMAGENET1K_V1"
    assert metadata["trained"] is True
    assert metadata["accuracy"] == pytest.approx(0.69758)
    model = PhotographClassifier(network, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    image = torch.full((1, 3, 224, 224), 90, dtype=torch.uint8)
    torch.testing.assert_close(classifier.engine(image), tuple(model(image)), rtol=1e-3, atol=1e-3)


def test_where_nothing_can_be_downloaded_the_error_says_what_to_do(store, monkeypatch, capsys, tmp_path):
    def fail(*_arguments, **_options):
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)

    assert main(["resnet", "--arch", "resnet50"]) == 2

    said = capsys.readouterr().err
    assert "no network" in said
    assert "resnet50-11ad3fa6.pth" in said
    assert str(tmp_path / "hub" / "checkpoints") in said
    assert "--weights FILE" in said
    assert not list(store.iterdir())


class Harmful:
    """An object that would leave a trace if it were unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def saved(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def without(state: dict, name: str) -> dict:
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda state: saved(without(state, "fc.bias")), "it has no fc.bias"),
        (lambda state: saved(state | {"extra": torch.zeros(1)}), "it has extra, which"),
        (
            lambda state: saved(state | {"fc.weight": torch.zeros(10, 512)}),
            "fc.weight has the shape (10, 512)",
        ),
        (lambda state: saved({"state_dict": state}), "holds no state dict"),
        (lambda _: saved([1, 2, 3]), "holds no state dict"),
        (lambda _: b"rubbish", "holds no tensors alone"),
        (lambda state: saved(state)[:1000], "holds no tensors alone"),
    ],
    ids=["a tensor missing", "one too many", "ten classes", "nested", "a list", "rubbish", "cut off"],
)
def test_a_file_that_holds_other_weights_is_refused_and_says_why(store, capsys, tmp_path, damage, says):
    network, _ = load_network("resnet18", "random", seed=0)
    path = tmp_path / "weights.pth"
    path.write_bytes(damage(network.state_dict()))

    assert main(["resnet", "--weights", str(path)]) == 2

    assert says in capsys.readouterr().err
    assert not list(store.iterdir())


def test_older_files_that_count_no_training_batches_are_taken(store, tmp_path):
    state = load_network("resnet18", "random", seed=0)[0].state_dict()
    path = tmp_path / "weights.pth"
    torch.save({name: value for name, value in state.items() if "num_batches" not in name}, path)

    assert main(["resnet", "--weights", str(path)]) == 0


def test_weights_with_faults_are_not_saved(store, capsys, tmp_path):
    state = load_network("resnet18", "random", seed=0)[0].state_dict()
    path = tmp_path / "weights.pth"
    torch.save(state | {"fc.bias": torch.full((1000,), torch.nan)}, path)

    assert main(["resnet", "--weights", str(path)]) == 2

    assert "answers are not finite" in capsys.readouterr().err
    assert not list(store.glob("resnet/*"))


def test_the_weights_of_another_architecture_are_refused(store, capsys, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(load_network("resnet34", "random", seed=0)[0].state_dict(), path)

    assert main(["resnet", "--arch", "resnet18", "--weights", str(path)]) == 2

    assert (
        "does not fit resnet18: it has layer1.2.conv1.weight, which the network has not"
        in capsys.readouterr().err
    )


def test_nothing_in_a_file_of_weights_is_unpickled(store, capsys, tmp_path):
    path, trace = tmp_path / "weights.pth", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Harmful(trace)))

    assert main(["resnet", "--weights", str(path)]) == 2

    assert "nothing else is unpickled" in capsys.readouterr().err
    assert not trace.exists()


def test_a_file_that_is_not_there_is_named(store, capsys, tmp_path):
    assert main(["resnet", "--weights", str(tmp_path / "none.pth")]) == 2

    assert "none.pth cannot be read (No such file or directory)" in capsys.readouterr().err


def test_a_reference_needs_images_that_can_all_be_used(store, capsys, tmp_path, photographs):
    for index, photograph in enumerate(photographs):
        photograph.save(tmp_path / f"{index}.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")

    assert main(["resnet", "--weights", "random", "--reference", str(tmp_path)]) == 2

    assert (
        "1 of the images cannot be used; mend or remove them. The first: broken.jpg"
        in capsys.readouterr().err
    )
    assert not list(store.glob("resnet/*"))


def test_a_folder_without_images_gives_no_reference(store, capsys, tmp_path):
    (tmp_path / "empty").mkdir()

    assert main(["resnet", "--weights", "random", "--reference", str(tmp_path / "empty")]) == 2

    assert "There is no image in" in capsys.readouterr().err


def test_a_reference_of_a_folder_comes_with_its_certificate(resnet_folder):
    metadata = {"preprocessing": "photograph", "precisions": BOTH, **SIZES}

    reference = load_classifier(resnet_folder, "resnet", "1", metadata).reference

    assert reference.features.shape == (76, 512)
    assert reference.probabilities.shape == (76, 1000)
    assert {one.m for one in reference.certificate.false_alarms} == {16}
    assert [one.m for one in reference.certificate.blurs] == [16]
