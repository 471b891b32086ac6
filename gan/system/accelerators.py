"""The hardware that a run trains on, and GPUs that it leaves idle."""

import torch


def resolve_accelerator(accelerator: str) -> str:
    """Return the accelerator that a run trains on: auto is gpu if there is one, otherwise cpu."""
    return accelerator if accelerator != "auto" else "gpu" if has_gpu() else "cpu"


def describe_unused_gpu(accelerator: str) -> str | None:
    """Return a line for a run on the CPU of a machine with a GPU, None for any other."""
    if accelerator == "cpu" and has_gpu():
        return "trainer.accelerator=cpu leaves this machine's GPU idle; trainer=gpu trains on it"
    return None


def has_gpu() -> bool:
    """Return whether PyTorch finds a GPU of NVIDIA, AMD or Apple."""
    return torch.cuda.is_available() or torch.backends.mps.is_available()
