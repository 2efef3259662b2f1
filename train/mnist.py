"""The MNIST classifier: a small convolutional network, from pixels to a scripted module."""

import copy
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.adamw import adamw

from drift import Reference, certify
from drift.progress import followed, steps
from train.data import Digits, MnistSplits
from train.pens import redrawn
from train.publish import publish
from vision.corruptions import gaussian_blur, turns, warped

LABELS = [str(digit) for digit in range(10)]
MEAN, STD = 0.1307, 0.3081  # of the training pixels, scaled to [0, 1]
FEATURES = 128
BATCH_SIZE = 64
MOST_REDRAWN = 10_000  # digits that are seen a second time, drawn with another pen
PATIENCE = 4  # epochs without a better validation loss
SLOWER_AFTER, SLOWER = 2, 0.3  # of such epochs, times the learning rate
# What makes of a digit another one that is to be read alike; mirroring is not among it.
MOST_TURN, MOST_LEAN = 12, 8  # degrees to either side
SIZES, MOST_STEP = (0.87, 1.18), 0.08 * 28  # times its size, and pixels in either direction
LENGTHSCALE_DIGITS = 1_000
GOLDEN_DIGITS = 16


class DigitClassifier(nn.Module):
    """Tell digits apart, and show the features by which it does.

    Takes uint8 images (B, 1, 28, 28), light on dark; returns logits (B, 10) and features (B, 128).
    """

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *convolution(1, 32),  # (B, 32, 14, 14)
            *convolution(32, 64),  # (B, 64, 7, 7)
            *convolution(64, 128),  # (B, 128, 3, 3)
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(128 * 3 * 3, FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, len(LABELS))
        self.mean = MEAN
        self.std = STD

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pixels = (images.float() / 255 - self.mean) / self.std  # (B, 1, 28, 28)
        features = self.blocks(pixels)  # (B, 128)
        return self.head(features), features


def convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.MaxPool2d(2),
        nn.ReLU(),  # the other way round would give the same, of four times as many values
    ]


def train_classifier(data: MnistSplits, *, epochs: int, seed: int) -> DigitClassifier:
    """Train until the validation loss stops falling, and return the classifier as it was at its best.

    Args:
        data: What to train and validate on.
        epochs: How many passes over the training digits at most.
        seed: Of the weights, the pens, the order of the digits and their augmentation.
    """
    copied = data.train.take(torch.arange(min(MOST_REDRAWN, len(data.train))))
    with steps("pens", len(copied)) as step:
        drawn = Digits(redrawn(copied.images, seed=seed, advance=step), copied.labels)
    train = data.train + drawn
    torch.manual_seed(seed)
    # With a picture's channels side by side in memory, a step takes two thirds of the time.
    model = DigitClassifier().to(memory_format=torch.channels_last)
    optimiser = AdamW([*model.parameters()], rate=2e-3, weight_decay=1e-4)
    best_loss, best_weights, best_epoch = float("inf"), model.state_dict(), 0
    for epoch in range(1, epochs + 1):
        model.train()
        parts = torch.randperm(len(train)).split(BATCH_SIZE)
        name = f"epoch {epoch:2d} of {epochs}"
        for part in followed(parts, name, len(parts)):
            logits, _ = model(augmented(train.images[part].unsqueeze(1)))
            optimiser.step(F.cross_entropy(logits, train.labels[part]))
        validation_loss, accuracy = evaluate(model, data.validation)
        print(f"{name}: validation loss {validation_loss:.4f}, accuracy {accuracy:.2%}", file=sys.stderr)
        if validation_loss < best_loss:
            best_loss, best_weights, best_epoch = validation_loss, copy.deepcopy(model.state_dict()), epoch
        elif epoch - best_epoch >= PATIENCE:
            break
        elif (epoch - best_epoch) % SLOWER_AFTER == 0:
            optimiser.rate *= SLOWER
    model.load_state_dict(best_weights)
    return model.to(memory_format=torch.contiguous_format).eval()


class AdamW:
    """Loshchilov and Hutter's AdamW, as torch.optim computes it.

    The class of torch.optim loads PyTorch's compiler, which takes seconds and packages that the image of the
    service does not have.
    """

    def __init__(self, weights: list[Tensor], *, rate: float, weight_decay: float) -> None:
        self.weights, self.rate, self.weight_decay = weights, rate, weight_decay
        self.means = [torch.zeros_like(weight) for weight in weights]
        self.squares = [torch.zeros_like(weight) for weight in weights]
        self.steps = [torch.zeros(()) for _ in weights]

    def step(self, loss: Tensor) -> None:
        """Change the weights by the gradients of a loss."""
        gradients = list(torch.autograd.grad(loss, self.weights))
        with torch.no_grad():
            adamw(
                self.weights, gradients, self.means, self.squares, [], self.steps,
                amsgrad=False, beta1=0.9, beta2=0.999, lr=self.rate, weight_decay=self.weight_decay,
                eps=1e-8, maximize=False,
            )  # fmt: skip


def augmented(images: Tensor) -> Tensor:
    """Return digits (B, 1, 28, 28), each under a slight affine change, after which it is the same digit."""
    count = len(images)
    turn, lean, right, down = torch.empty(4, count).uniform_(-1, 1)
    matrices = turns(MOST_TURN * turn) / torch.empty(count, 1, 1).uniform_(*SIZES)
    matrices[:, 0] += (MOST_LEAN * lean).deg2rad().tan().unsqueeze(1) * matrices[:, 1]
    return warped(images, matrices, MOST_STEP * torch.stack([right, down], dim=1), mode="nearest")


def evaluate(model: nn.Module, digits: Digits) -> tuple[float, float]:
    """Return the mean cross-entropy and the accuracy on some digits."""
    logits, _ = predict(model, digits.images)
    accuracy = (logits.argmax(dim=1) == digits.labels).float().mean().item()
    return F.cross_entropy(logits, digits.labels).item(), accuracy


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits and features of images (N, 28, 28), in evaluation mode, some at a time."""
    model.eval()
    outputs: Sequence[tuple[Tensor, Tensor]] = [model(part.unsqueeze(1)) for part in images.split(500)]
    return torch.cat([logits for logits, _ in outputs]), torch.cat([features for _, features in outputs])


def fit_reference(model: nn.Module, data: MnistSplits, *, certified: bool) -> Reference:
    """Return the reference of a classifier, with or without its certificate, which takes a minute."""
    logits, features = predict(model, data.reference.images)
    _, training_features = predict(model, data.train.images[:LENGTHSCALE_DIGITS])
    reference = Reference.fit(
        features, logits.softmax(dim=1), lengthscale_sample=training_features, progress=True
    )
    if not certified:
        return reference

    def blurred(sigma: float) -> Tensor:
        return predict(model, gaussian_blur(data.test.images.unsqueeze(1), sigma).squeeze(1))[1]

    _, held_out = predict(model, data.test.images)
    return replace(reference, certificate=certify(reference, held_out, blur=blurred, progress=True))


def publish_mnist(
    model: DigitClassifier, data: MnistSplits, reference: Reference, *, seed: int
) -> tuple[str, float]:
    """Save a trained classifier with all that belongs to it; return its tag and held-out accuracy."""
    _, accuracy = evaluate(model, data.held_out)
    tag = publish(
        "mnist",
        model,
        labels=LABELS,
        reference=reference,
        golden_images=data.test.images[:GOLDEN_DIGITS].unsqueeze(1),
        metadata={
            "dataset": data.name,
            "training_images": len(data.train),
            "accuracy": round(accuracy, 4),
            "accuracy_on": f"{len(data.held_out)} held-out digits",
            "preprocessing": "digits",
            "image_size": 28,
            "weights": f"trained from seed {seed}",
        },
    )
    return tag, accuracy
