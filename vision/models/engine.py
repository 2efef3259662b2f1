"""A stored TorchScript, run as fast as this processor runs it.

As it comes, a script uses a fraction of the processor. Frozen, with its channels side by side in memory, its
operations fused by oneDNN and its weights in bfloat16 where the processor multiplies those, it is several
times as fast. Every shortcut has to give the golden answers first.
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

# By how much an answer may be off, as a share of the largest. Another build of torch or another processor
# rounds float32 differently, by about 1e-5. bfloat16 has 8 significant bits, and is off by about 1e-2 after
# a hundred layers. A wrong or damaged model is off by whole units.
TOLERANCES: Mapping[Precision, float] = {"float32": 1e-3, "bfloat16": 5e-2}
DTYPES: Mapping[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# Images in one pass. A pass costs some tenths of a millisecond whatever is in it, which only a network that
# is done as quickly has to share among many images.
SMALL_NETWORK_SECONDS = 1e-3
SIZES_OF_SMALL_NETWORK = (1, 8, 32)
WARM_UP_PASSES = 3  # the first is recorded, the second compiled
FEWEST_TIMED_PASSES, TIMED_SECONDS = 3, 0.05


@dataclass(frozen=True)
class Engine:
    """A script that is ready to run.

    Attributes:
        script: Takes uint8 (B, C, H, W), returns logits (B, K) and features (B, D), float32.
        precision: Of its weights.
        fused: Whether oneDNN makes several of its operations one.
        sizes: The values of B that it was compiled for, in rising order.
    """

    script: torch.jit.ScriptModule
    precision: Precision
    fused: bool
    sizes: Sequence[int] = (1,)

    @property
    def is_small(self) -> bool:
        """Whether its network is done so quickly that images are better put through together."""
        return len(self.sizes) > 1

    @torch.inference_mode()
    def __call__(self, inputs: Tensor, checkpoint: Callable[[], None] = lambda: None) -> Outputs:
        """Return logits (N, K) and features (N, D) of any number of inputs (N, C, H, W), uint8.

        Args:
            inputs: The inputs.
            checkpoint: Called before each pass; what it raises ends the work.
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
        """Run one pass, in the next of the sizes: any other would have to be compiled first."""
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
        golden: Some `images`, with the `logits` and `features` that training saw.
        takes: The precisions that the script takes its weights in.
        precision: The one to use where the script takes it, float32 where not; or the faster of those that
            this processor has.

    Raises:
        ModelNotLoadedError: It does not give its golden answers.
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
    """Return whether oneDNN finds on this processor what it takes to multiply in bfloat16."""
    found: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return found


def build(path: Path, golden: Mapping[str, Tensor], precision: Precision) -> Engine:
    """Return an engine that gives the golden answers, its operations fused where that is possible.

    Raises:
        ModelNotLoadedError: It does not give them.
    """
    script = load_script(path)
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


def load_script(path: Path) -> torch.jit.ScriptModule:
    with script_warnings_ignored():
        script: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu").eval()
    return script


def freeze(script: torch.jit.ScriptModule, precision: Precision, *, fused: bool) -> Engine:
    with script_warnings_ignored():
        return Engine(torch.jit.freeze(script), precision, fused)


@contextmanager
def script_warnings_ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        # TorchScript is what this project ships: one file that runs without the code that made it.
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.\w+.* is deprecated")
        yield


@contextmanager
def fusion(fused: bool) -> Iterator[None]:
    """Let oneDNN fuse the operations of what is compiled meanwhile, and of nothing else.

    It takes weights for constants, and so gives wrong answers for scripts that are not frozen.
    """
    with script_warnings_ignored():
        torch.jit.enable_onednn_fusion(fused)
        try:
            yield
        finally:
            torch.jit.enable_onednn_fusion(False)


def check_golden(engine: Engine, golden: Mapping[str, Tensor]) -> None:
    """Compare an engine's answers with those that training saw, once it has compiled what it runs.

    Raises:
        ModelNotLoadedError: They differ by more than rounding.
    """
    with fusion(engine.fused):
        for _ in range(WARM_UP_PASSES):
            logits, features = engine(golden["images"])
    shapes = logits.shape, features.shape
    expected_shapes = golden["logits"].shape, golden["features"].shape
    if shapes != expected_shapes or not len(logits):
        raise ModelNotLoadedError(f"The model's answers have the shapes {shapes}, not {expected_shapes}.")
    differences = [
        ((answer - expected).abs().max() / expected.abs().max().clamp(min=1)).item()
        for answer, expected in ((logits, golden["logits"]), (features, golden["features"]))
    ]
    tolerance = TOLERANCES[engine.precision]
    if not all(difference <= tolerance for difference in differences):  # so that NaN fails too
        raise ModelNotLoadedError(
            f"In {engine.precision} the model does not give the answers that it gave in training: logits and "
            f"features are off by {differences[0]:.2g} and {differences[1]:.2g} of the largest, "
            f"{tolerance:g} is allowed. Train it again with this version of torch."
        )


def seconds(engine: Engine, inputs: Tensor) -> float:
    """Return how long a pass takes at its best, which the first few of a busy machine may not show."""
    took = list[float]()
    while len(took) < FEWEST_TIMED_PASSES or sum(took) < TIMED_SECONDS:
        started = time.perf_counter()
        engine(inputs)
        took.append(time.perf_counter() - started)
    return min(took)


def with_larger_sizes(engine: Engine, golden: Mapping[str, Tensor]) -> Engine:
    """Return the engine, compiled for larger passes too where its network is small.

    Raises:
        ModelNotLoadedError: They do not give the golden answers.
    """
    if seconds(engine, golden["images"][:1]) > SMALL_NETWORK_SECONDS:
        return engine
    for size in SIZES_OF_SMALL_NETWORK:
        check_golden(replace(engine, sizes=(size,)), golden)
    return replace(engine, sizes=SIZES_OF_SMALL_NETWORK)
