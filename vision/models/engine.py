"""Run a stored TorchScript as fast as this processor can.

Freezing a script, keeping channels last in memory, fusing its operations with oneDNN, and bfloat16 where the
processor supports it make it several times as fast. Each step must give the golden answers.
"""

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vision.errors import ModelNotLoadedError

logger = logging.getLogger("bentoml.driftbento")  # BentoML shows what its own loggers say

Outputs = tuple[Tensor, Tensor]
Precision = Literal["float32", "bfloat16"]
Choice = Literal["auto", "float32", "bfloat16"]

# Largest error allowed in an answer, as a share of its largest number. Another build of torch or another
# processor rounds float32 differently, by about 1e-5. bfloat16 has 8 significant bits, and is off by about
# 1e-2 after a hundred layers. A wrong or damaged model is off by whole units.
TOLERANCES: Mapping[Precision, float] = {"float32": 1e-3, "bfloat16": 5e-2}
DTYPES: Mapping[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# Images in one pass. Each pass has an overhead of a few tenths of a millisecond, which only a network that is
# as fast itself needs to share among many images.
SMALL_NETWORK_SECONDS = 1e-3
SIZES_OF_SMALL_NETWORK = (1, 8, 32)
WARM_UP_PASSES = 3  # TorchScript records the first and compiles the second
FEWEST_TIMED_PASSES, TIMED_SECONDS = 3, 0.05


@dataclass(frozen=True)
class Engine:
    """A script that is ready to run.

    Attributes:
        script: Takes uint8 (B, C, H, W), returns logits (B, K) and features (B, D), float32.
        precision: Precision of its weights.
        fused: Whether oneDNN fuses its operations.
        sizes: Values of B that it was compiled for, in rising order.
    """

    script: torch.jit.ScriptModule
    precision: Precision
    fused: bool
    sizes: Sequence[int] = (1,)

    @property
    def is_small(self) -> bool:
        """Whether its network is so fast that images are better classified in groups."""
        return len(self.sizes) > 1

    @torch.inference_mode()
    def __call__(self, inputs: Tensor, checkpoint: Callable[[], None] = lambda: None) -> Outputs:
        """Return logits (N, K) and features (N, D) of any number of inputs (N, C, H, W), uint8.

        Args:
            checkpoint: Called before each pass; an error that it raises ends the work.
        """
        outputs = []
        for chunk in inputs.split(self.sizes[-1]):
            checkpoint()
            outputs.append(self.run(chunk))
        if len(outputs) == 1:
            return outputs[0]
        logits, features = zip(*outputs, strict=True)
        return torch.cat(logits), torch.cat(features)

    def run(self, chunk: Tensor) -> Outputs:
        """Run one pass, padded to the next of the sizes: any other would have to be compiled first."""
        count = len(chunk)
        size = next(size for size in self.sizes if size >= count)
        if size > count:
            chunk = torch.cat([chunk, chunk.new_zeros(size - count, *chunk.shape[1:])])
        logits, features = self.script(chunk.contiguous(memory_format=torch.channels_last))
        return logits[:count], features[:count]


def load_engine(
    path: Path, golden: Mapping[str, Tensor], *, takes: Sequence[str], precision: Choice
) -> Engine:
    """Return the fastest engine for a script that gives its golden answers.

    Args:
        path: The stored script.
        golden: Some `images`, with the `logits` and `features` that training got for them.
        takes: Precisions that the script can take its weights in.
        precision: The precision to use if the script takes it, and else float32; auto for the faster of those
            that this processor has.

    Raises:
        ModelNotLoadedError: The script does not give its golden answers.
    """
    if precision == "auto":
        both = "bfloat16" in takes and has_bfloat16()
        candidates: list[Precision] = ["float32", "bfloat16"] if both else ["float32"]
    else:
        candidates = [precision] if precision in takes else ["float32"]
    engines, errors = list[Engine](), list[ModelNotLoadedError]()
    for candidate in candidates:
        try:
            engines.append(build(path, golden, candidate))
        except ModelNotLoadedError as error:
            errors.append(error)
    if not engines:
        raise errors[0]
    for rejected in errors:
        logger.warning("%s The other precision is used.", rejected.detail)
    one = golden["images"][:1]
    fastest = engines[0] if len(engines) == 1 else min(engines, key=lambda engine: seconds(engine, one))
    return with_larger_sizes(fastest, golden)


def has_bfloat16() -> bool:
    """Return whether oneDNN can multiply in bfloat16 on this processor."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def build(path: Path, golden: Mapping[str, Tensor], precision: Precision) -> Engine:
    """Return an engine that gives the golden answers, with its operations fused if possible."""
    with script_warnings_ignored():
        script: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu").eval()
    for parameter in script.parameters():
        parameter.data = parameter.data.to(DTYPES[precision])
    script = script.to(memory_format=torch.channels_last)
    try:
        engine = freeze(script, precision, fused=True)
        check_golden(engine, golden)
    except (RuntimeError, ModelNotLoadedError) as error:
        logger.info("%s is not fused: %s", path, error)
        engine = freeze(script, precision, fused=False)
        check_golden(engine, golden)
    return engine


def freeze(script: torch.jit.ScriptModule, precision: Precision, *, fused: bool) -> Engine:
    with script_warnings_ignored():
        return Engine(torch.jit.freeze(script), precision, fused)


@contextmanager
def script_warnings_ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        # TorchScript is what this project ships: one file that runs without the code that made it.
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.\w+.* is deprecated")
        yield


def check_golden(engine: Engine, golden: Mapping[str, Tensor]) -> None:
    """Warm an engine up, and compare its answers with those that training got.

    Raises:
        ModelNotLoadedError: The answers differ by more than rounding.
    """
    with script_warnings_ignored():
        torch.jit.enable_onednn_fusion(engine.fused)
        try:
            for _ in range(WARM_UP_PASSES):
                logits, features = engine(golden["images"])
        finally:  # fusion takes weights for constants, so scripts that are not frozen would answer wrongly
            torch.jit.enable_onednn_fusion(False)
    shapes = logits.shape, features.shape
    expected_shapes = golden["logits"].shape, golden["features"].shape
    if shapes != expected_shapes or not len(logits):
        raise ModelNotLoadedError(f"The model's answers have the shapes {shapes}, not {expected_shapes}.")
    differences = [
        ((answer - expected).abs().max() / expected.abs().max().clamp(min=1)).item()
        for answer, expected in ((logits, golden["logits"]), (features, golden["features"]))
    ]
    tolerance = TOLERANCES[engine.precision]
    if not all(difference <= tolerance for difference in differences):  # NaN fails too
        raise ModelNotLoadedError(
            f"In {engine.precision} the model does not give the answers that it gave in training: logits and "
            f"features are off by {differences[0]:.2g} and {differences[1]:.2g} of the largest, "
            f"{tolerance:g} is allowed. Train it again with this version of torch."
        )


def seconds(engine: Engine, inputs: Tensor) -> float:
    """Return the time of the fastest pass; on a busy machine the first few may all be slow."""
    took = list[float]()
    while len(took) < FEWEST_TIMED_PASSES or sum(took) < TIMED_SECONDS:
        started = time.perf_counter()
        engine(inputs)
        took.append(time.perf_counter() - started)
    return min(took)


def with_larger_sizes(engine: Engine, golden: Mapping[str, Tensor]) -> Engine:
    """Return the engine, compiled for larger passes too if its network is small."""
    if seconds(engine, golden["images"][:1]) > SMALL_NETWORK_SECONDS:
        return engine
    for size in SIZES_OF_SMALL_NETWORK:
        check_golden(replace(engine, sizes=(size,)), golden)
    return replace(engine, sizes=SIZES_OF_SMALL_NETWORK)
