"""The ImageNet classifier: torchvision's ResNet, from its weights to a scripted module.

Nothing is trained here. The weights are torchvision's, or come from a file.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torchvision.models import ResNet, WeightsEnum, get_model, get_model_weights

from train.architectures import ARCHITECTURES
from train.data import DOWNLOAD_TIMEOUT_SECONDS
from train.errors import WeightsUnavailableError
from train.publish import Metadata, publish
from vision.embed import fit_on_images

IMAGENET, RANDOM = "imagenet", "random"
GOLDEN_IMAGES = 4
GOLDEN_GRIDS = (2, 7, 28, 112)  # points on a side, of the coarse and fine patterns of a golden image


@dataclass(frozen=True)
class Weights:
    """Where a network's weights come from.

    Attributes:
        arch: torchvision's name of the architecture.
        description: What to call the weights.
        trained: Whether they are other than random.
        metadata: What else is known of them.
    """

    arch: str
    description: str
    trained: bool
    metadata: Metadata


class PhotographClassifier(nn.Module):
    """Tell the classes of ImageNet apart, and show the features by which it does.

    Takes uint8 images (B, 3, H, W); returns logits (B, K) and features (B, D), float32. Its weights may be
    float32 or bfloat16. It is the network that it is made of, with its batch normalisation folded into the
    convolutions before it.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: ResNet, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # All its children but the last, which is fc.
        self.body = fuse(nn.Sequential(*list(network.children())[:-1], nn.Flatten()).eval())
        self.head = network.fc
        self.register_buffer("scale", 1 / (255 * torch.tensor(std)))
        self.register_buffer("shift", -torch.tensor(mean) / torch.tensor(std))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(self.normalised(images).to(self.head.weight.dtype))  # (B, D)
        return self.head(features).float(), features.float()

    def normalised(self, images: Tensor) -> Tensor:
        """Subtract the mean and divide by the standard deviation.

        It is done in rows of all channels, since rows of three numbers are too short for the processor's
        vector instructions: that would take a tenth of the time of the whole network.
        """
        rows = images.permute(0, 2, 3, 1).flatten(2).float()  # (B, H, 3W)
        width = images.size(3)
        rows = torch.addcmul(self.shift.repeat(width), rows, self.scale.repeat(width))
        normalised: Tensor = rows.unflatten(2, [width, 3]).permute(0, 3, 1, 2)  # (B, 3, H, W)
        return normalised


def load_network(arch: str, choice: str, *, seed: int) -> tuple[ResNet, Weights]:
    """Return a network with its weights, in evaluation mode.

    Args:
        arch: One of ARCHITECTURES.
        choice: `imagenet` for the best weights that torchvision has, downloaded unless they lie in torch's
            cache; `random`; or the name of a file that holds a state dict.
        seed: Of random weights.

    Raises:
        WeightsUnavailableError: They cannot be had, or are not those of the architecture.
    """
    torch.manual_seed(seed)
    network = get_model(arch, weights=None)
    if choice == RANDOM:
        return network.eval(), Weights(arch, f"random, seed {seed}", False, {})
    if choice == IMAGENET:
        best = get_model_weights(arch).DEFAULT
        network.load_state_dict(download(best))
        known: Metadata = {
            "dataset": "ImageNet-1K",
            "accuracy": best.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100,
            "accuracy_on": "the validation images of ImageNet-1K, as torchvision reports it",
        }
        return network.eval(), Weights(arch, str(best), True, known)
    load_file(network, arch, Path(choice))
    return network.eval(), Weights(arch, f"the file {Path(choice).name}", True, {})


def download(weights: WeightsEnum) -> dict[str, Tensor]:
    """Return weights of torchvision, downloaded with a progress bar unless they lie in torch's cache."""
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)  # torch's download has no timeout of its own
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # the second of a file whose checksum is another
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise WeightsUnavailableError(
            f"{weights} could not be downloaded ({error}).",
            f"Put {Path(weights.url).name} from {weights.url} into {folder}, name a state dict with "
            "--weights FILE, or try the service out with --weights random, which recognises nothing.",
        ) from error
    finally:
        socket.setdefaulttimeout(patience)
    return state


def load_file(network: ResNet, arch: str, path: Path) -> None:
    """Load a state dict into a network.

    Raises:
        WeightsUnavailableError: The file cannot be read, or its weights are not those of the architecture.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsUnavailableError(f"{path} cannot be read ({error.strerror}).", CHOICES) from error
    except Exception as error:  # torch raises half a dozen types on files that are none of its own
        raise WeightsUnavailableError(
            f"{path} holds no tensors alone, and nothing else is unpickled.",
            f"Save a state dict with torch.save(model.state_dict(), {path.name!r}).",
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsUnavailableError(
            f"{path} holds no state dict: a mapping from names to tensors.",
            f"Save one with torch.save(model.state_dict(), {path.name!r}).",
        )
    expected, found = shapes(network.state_dict()), shapes(state)
    if found != expected:
        raise WeightsUnavailableError(f"{path} does not fit {arch}: {difference(found, expected)}.", CHOICES)
    network.load_state_dict(state)


CHOICES = (
    f"Give the state dict of one of torchvision's {', '.join(ARCHITECTURES)} with 1000 classes, and name it "
    "with --arch."
)


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor, but for counts of training batches, which older files have not."""
    return {
        name: tuple(value.shape) for name, value in state.items() if not name.endswith("num_batches_tracked")
    }


def difference(found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> str:
    """Return in words the first difference between the shapes of two state dicts."""
    for name, shape in expected.items():
        if name not in found:
            return f"it has no {name}"
        if found[name] != shape:
            return f"{name} has the shape {found[name]}, not {shape}"
    return f"it has {next(name for name in found if name not in expected)}, which the network has not"


def publish_resnet(network: ResNet, weights: Weights, images: Sequence[Path], *, seed: int) -> str:
    """Save a network with all that belongs to it, and return its tag.

    Args:
        network: In evaluation mode.
        weights: Where its weights come from.
        images: What drift is measured against: folders and files of images; none for no reference.
        seed: Of everything random.

    Raises:
        DriftError: No reference can be fitted on the images.
    """
    of_torchvision: WeightsEnum = get_model_weights(weights.arch).DEFAULT
    transform = of_torchvision.transforms()
    (resize_size,), (crop_size,) = transform.resize_size, transform.crop_size
    model = PhotographClassifier(network, mean=transform.mean, std=transform.std)
    metadata: Metadata = {
        "architecture": weights.arch,
        "weights": weights.description,
        "trained": weights.trained,
        **weights.metadata,
        "preprocessing": "photograph",
        "image_size": crop_size,
        "resize_size": resize_size,
        "crop_size": crop_size,
        "interpolation": transform.interpolation.value,
        "precisions": ["float32", "bfloat16"],
    }
    fit = partial(fit_on_images, metadata=metadata, paths=images, seed=seed, progress=True)
    return publish(
        "resnet",
        model,
        labels=of_torchvision.meta["categories"],
        reference=fit if images else None,
        golden_images=golden_images(crop_size),
        metadata=metadata,
    )


def golden_images(size: int) -> Tensor:
    """Return pictures of coarse and fine patterns, shape (4, 3, size, size), uint8."""
    generator = torch.Generator().manual_seed(0)
    patterns = [
        F.interpolate(torch.rand(GOLDEN_IMAGES, 3, grid, grid, generator=generator), size, mode="bilinear")
        for grid in GOLDEN_GRIDS
    ]
    return (torch.stack(patterns).mean(0) * 255).round().to(torch.uint8)
