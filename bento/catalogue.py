"""A classifier of the model store, by its name."""

from bento import store
from vision.errors import MEND, ModelNotLoadedError
from vision.models.classifier import Classifier, load_classifier
from vision.models.engine import Choice


def load(tag: str, *, precision: Choice = "auto") -> Classifier:
    """Return a model of the store.

    Args:
        tag: Its name, which stands for its newest version, or name:version.
        precision: Of its weights; the faster of those that it takes by default.

    Raises:
        ModelNotLoadedError: There is none, or it cannot be used.
    """
    try:
        stored = store.find(tag)
    except store.NoSuchModelError as error:
        raise ModelNotLoadedError(f"{error} `bentoml models list` shows what there is.") from error
    except store.DamagedModelError as error:
        raise ModelNotLoadedError(f"{error} {MEND}") from error
    return load_classifier(stored.folder, stored.name, stored.version, stored.metadata, precision=precision)
