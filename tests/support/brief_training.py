"""Program: put a digit classifier into the store of BENTOML_HOME that is as good as most tests need.

It is trained for a few epochs, and certified by a hundredth of the batches.
"""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from drift import certify
from train.data import load_mnist
from train.mnist import fit_reference, predict, publish_mnist, train_classifier
from vision.corruptions import gaussian_blur

EPOCHS, BATCHES, SEED = 5, 10, 0

if __name__ == "__main__":
    data = load_mnist("embedded", Path("data"))
    model = train_classifier(data, epochs=EPOCHS, seed=SEED)
    reference = fit_reference(model, data, certified=False)

    def blurred(sigma: float) -> Tensor:
        return predict(model, gaussian_blur(data.test.images.unsqueeze(1), sigma).squeeze(1))[1]

    _, held_out = predict(model, data.test.images)
    certificate = certify(reference, held_out, blur=blurred, n_batches=BATCHES)
    publish_mnist(model, data, replace(reference, certificate=certificate), seed=SEED)
