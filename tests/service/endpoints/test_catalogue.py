"""What the service serves: the models of its store that are this project's, whatever their names."""

import shutil

import pytest
import yaml


@pytest.fixture
def home(store, tmp_path):
    """A BENTOML_HOME that holds a digit classifier of an unusual name, and the same as somebody else's."""
    (model,) = store.glob("models/mnist/*/")
    for name in ("mine", "foreign"):
        copied = tmp_path / "home" / "models" / name / model.name
        shutil.copytree(model, copied)
        (copied.parent / "latest").write_text(model.name)
        facts = yaml.safe_load((copied / "model.yaml").read_text()) | {"name": name}
        if name == "foreign":
            facts["labels"] = {}
        (copied / "model.yaml").write_text(yaml.safe_dump(facts))
    return tmp_path / "home"


def test_models_of_any_name_are_served_and_those_of_others_are_not(home, serve, as_files, held_out):
    files = as_files(held_out.images[:64])

    with serve(home) as client:
        models = client.get("/models").json()["models"]
        classified = client.post("/classify", files=files, data={"model": "mine"})
        tested = client.post("/drift", files=files, data={"model": "mine"})
        foreign = client.post("/classify", files=files, data={"model": "foreign"})
        usual = client.post("/classify", files=files)

    assert [model["name"] for model in models] == ["mine"]
    assert classified.status_code == tested.status_code == 200
    assert tested.json()["model"] == classified.json()["model"]
    assert foreign.status_code == 404
    assert foreign.json()["detail"].endswith("There is: mnist, resnet, mine.")
    assert usual.status_code == 503
    assert "Run `python -m train mnist`" in usual.json()["detail"]
    assert "or send model=mine" in usual.json()["detail"]
