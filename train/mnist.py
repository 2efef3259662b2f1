"""The MNIST classifier: a small convolutional network, from pixels to a scripted module."""

import copy
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import v2

from drift import Reference, certify
from drift.progress import followed, steps
from train.data import Digits, MnistSplits
from train.pens import redrawn
from train.publish import publish
from vision.corruptions import gaussian_blur

LABELS = [str(digit) for digit in range(10)]
MEAN, STD = 0.1307, 0.3081  # of the training pixels, scaled to [0, 1]
FEATURES = 128
BATCH_SIZE = 64
MOST_REDRAWN = 10_000  # digits that are seen a second time, drawn with another pen
PATIENCE = 4  # epochs without a better validation loss
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
        nn.ReLU(),
        nn.MaxPool2d(2),
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
    model = DigitClassifier()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.3, patience=1)
    # A digit stays the digit it was under slight affine changes, but not when it is mirrored.
    augment = v2.RandomAffine(degrees=12, translate=(0.08, 0.08), scale=(0.85, 1.15), shear=8)

    best_loss, best_weights, best_epoch = float("inf"), model.state_dict(), 0
    for epoch in range(1, epochs + 1):
        model.train()
        loader = DataLoader(TensorDataset(train.images, train.labels), BATCH_SIZE, shuffle=True)
        name = f"epoch {epoch:2d} of {epochs}"
        for images, labels in followed(loader, name, len(loader)):
            augmented = torch.stack([augment(image) for image in images.unsqueeze(1)])  # (B, 1, 28, 28)
            logits, _ = model(augmented)
            loss = F.cross_entropy(logits, labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        validation_loss, accuracy = evaluate(model, data.validation)
        print(f"{name}: validation loss {validation_loss:.4f}, accuracy {accuracy:.2%}", file=sys.stderr)
        schedule.step(validation_loss)
        if validation_loss < best_loss:
            best_loss, best_weights, best_epoch = validation_loss, copy.deepcopy(model.state_dict()), epoch
        elif epoch - best_epoch >= PATIENCE:
            break
    model.load_state_dict(best_weights)
    return model.eval()


def evaluate(model: nn.Module, digits: Digits) -> tuple[float, float]:
    """Return the mean cross-entropy and the accuracy on some digits."""
    logits, _ = predict(model, digits.images)
    return F.cross_entropy(logits, digits.labels).item(), (
        logits.argmax(dim=1) == digits.labels
    ).float().mean().item()


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
