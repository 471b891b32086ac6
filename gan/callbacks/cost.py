"""The cost of a model: its parameters and the floating-point operations of a training step."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode  # no public mode sees gradients of gradients
from torch.utils.flop_counter import flop_registry

from gan import tracking
from gan.callbacks.run_state import RunCallback
from gan.system.console import plain_console


class FlopCounter(TorchDispatchMode):
    """Counts the operations of everything that runs inside it, double backward included, by PyTorch's formulas.

    PyTorch's FlopCounterMode registers module hooks, which fail under torch.autograd.grad.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func.overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=outputs)
        return outputs


class Cost(RunCallback):
    """Counts trainable parameters and the operations of the first steps, prints them, and logs them in W&B's summary.

    `flops_per_step` counts matrix products and convolutions, forward and backward, in one step with all its updates of
    D, a multiply-add as two operations. It is a mean over as many steps as the longest interval of a penalty.
    """

    counting = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.counter, self.steps = FlopCounter(), 0
        self.wanted = max((interval for _, interval in pl_module.penalties), default=1)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self.steps < self.wanted:
            self.counter.__enter__()
            self.counting = True

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self.steps == self.wanted:
            return
        self.stop_counting()
        self.steps += 1
        if self.steps == self.wanted:
            self.run.cost = {
                "generator_parameters": count_parameters(pl_module.generator),
                "discriminator_parameters": count_parameters(pl_module.discriminator),
                "flops_per_step": self.counter.total // self.steps,
            }
            tracking.log_summary(trainer.logger, self.run.cost)
            if trainer.is_global_zero:
                text = "generator {generator_parameters:,} parameters, discriminator {discriminator_parameters:,}"
                gflops = self.run.cost["flops_per_step"] / 1e9
                plain_console().print(f"{text.format(**self.run.cost)}; {gflops:.3g} GFLOP a step", soft_wrap=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.stop_counting()

    def stop_counting(self) -> None:
        """Leave the dispatch mode, which would slow down everything that follows in this process."""
        if self.counting:
            self.counter.__exit__(None, None, None)
            self.counting = False


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
