"""The floating-point precision in which a machine computes fast."""

import torch

from gan.errors import InputError

ALIASES = {"32": "32-true", "bf16": "bf16-mixed"}  # Lightning's
PRECISIONS = ("32-true", "bf16-mixed")


def resolve_precision(precision: str | int, accelerator: str) -> str:
    """Return the precision that a run trains in: auto is bf16-mixed where the hardware has bfloat16, else 32-true.

    Raises InputError for any other: in half precision averages and penalties lose their digits, and 16-mixed scales the
    gradients of one optimizer, where a GAN has two.
    """
    chosen = ALIASES.get(str(precision), str(precision))
    if chosen == "auto":
        return "bf16-mixed" if has_bfloat16(accelerator) else "32-true"
    if chosen not in PRECISIONS:
        raise InputError(f"trainer.precision={precision}: must be auto, {' or '.join(PRECISIONS)}")
    return chosen


def has_bfloat16(accelerator: str) -> bool:
    """Return whether the hardware computes bfloat16; where it does not, emulation is many times slower than float32."""
    if accelerator in ("gpu", "cuda") and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return accelerator == "cpu" and cpu_has_bfloat16()


def cpu_has_bfloat16() -> bool:
    """Return whether oneDNN, which computes convolutions and matrix products on CPUs, has bfloat16 instructions.

    PyTorch has no public function for it; its own tests use this one.
    """
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
