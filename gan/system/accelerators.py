"""GPUs that a run leaves idle."""

import torch


def describe_unused_gpu(accelerator: str) -> str | None:
    """Return a line for a run on the CPU of a machine with a GPU, None for any other."""
    if accelerator == "cpu" and (torch.cuda.is_available() or torch.backends.mps.is_available()):
        return "trainer.accelerator=cpu leaves this machine's GPU idle; trainer=gpu trains on it"
    return None
