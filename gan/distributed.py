"""Means, sums and exchanges over the processes of a run; with one process they change nothing.

Each of n processes takes `batch_size` images of its own: they train as one process would with n times the batch size.
Functions that exchange values must be called by all processes.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def get_world_size() -> int:
    """Return the number of processes of the run, 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def get_rank() -> int:
    """Return the rank of this process, 0 without torch.distributed."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their mean over processes, in one exchange.

    DistributedDataParallel would do so within `backward`, but expects every parameter in it: an update has those of one
    player only, and penalties differentiate twice.
    """
    if get_world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    whole = average_over_processes(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, whole.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def average_over_processes(value: Tensor) -> Tensor:
    """Return the mean over processes of a tensor, of the same shape and from as many samples in each of them."""
    if get_world_size() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / get_world_size()


def broadcast_buffers(module: nn.Module) -> None:
    """Copy rank 0's buffers of a module to all processes: batch norm's running statistics differ between them."""
    if get_world_size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def find_largest(value: int, device: torch.device) -> int:
    """Return the largest of the integers of all processes."""
    if get_world_size() == 1:
        return value
    shared = torch.tensor(value, device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return int(shared)


def any_process(flag: bool) -> bool:
    """Whether a flag is true in any process."""
    return max(gather_objects(flag))


def gather_objects(value: Any) -> list[Any]:
    """Return the values of all processes, in the order of their ranks; values must be picklable."""
    if get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * get_world_size()
    dist.all_gather_object(values, value)
    return values


def compute_standard_deviation(values: Tensor) -> Tensor:
    """Return the unbiased standard deviation, a scalar, of the values of all processes, each with as many."""
    if get_world_size() == 1:
        return values.std()
    deviation = (values - average_over_processes(values.mean())).square().mean()
    n = values.numel() * get_world_size()
    return (average_over_processes(deviation) * n / (n - 1)).sqrt()
