"""Sums over the processes of a run; with one process they change nothing.

A process of n takes `batch_size` images of its own, so that n of them train as one would with n times as many.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def get_world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def get_rank() -> int:
    """Return this process's number among those that train together, 0 for a process alone."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their mean over processes, in one exchange.

    DistributedDataParallel does so within `backward`, but wants every parameter in it: a player's update has its own
    only, and penalties differentiate twice.
    """
    if get_world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    whole = average_over_processes(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, whole.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def average_over_processes(value: Tensor) -> Tensor:
    """Return the mean over processes of a tensor, each having as many samples as the others."""
    if get_world_size() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / get_world_size()


def broadcast_buffers(module: nn.Module) -> None:
    """Give a module the first process's buffers: batch norm's running statistics, each process having its own."""
    if get_world_size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def find_largest(value: int, device: torch.device) -> int:
    """Return the largest of all processes' whole numbers; all have to ask."""
    if get_world_size() == 1:
        return value
    shared = torch.tensor(value, device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return int(shared)


def any_process(flag: bool) -> bool:
    """Whether a flag is raised on some process; all have to ask."""
    return max(gather_objects(flag))


def gather_objects(value: Any) -> list[Any]:
    """Return every process's value, by rank; all have to ask."""
    if get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * get_world_size()
    dist.all_gather_object(values, value)
    return values


def compute_standard_deviation(values: Tensor) -> Tensor:
    """Return the standard deviation of all processes' values, without bias."""
    if get_world_size() == 1:
        return values.std()
    deviation = (values - average_over_processes(values.mean())).square().mean()
    n = values.numel() * get_world_size()
    return (average_over_processes(deviation) * n / (n - 1)).sqrt()
