"""A classifier of the model store, by its name."""

from bento import store
from vision.errors import ModelNotLoadedError
from vision.models.classifier import Classifier, load_classifier


def load(tag: str) -> Classifier:
    """Return a model of the store, loaded in the precision that is faster on this processor.

    Args:
        tag: Its name, which stands for its newest version, or name:version.

    Raises:
        ModelNotLoadedError: There is none, or it cannot be used.
    """
    try:
        stored = store.find(tag)
    except (store.NoSuchModelError, store.DamagedModelError) as error:
        raise ModelNotLoadedError(f"{error} `bentoml models list` shows what there is.") from error
    return load_classifier(stored.folder, stored.name, stored.version, stored.metadata, precision="auto")
