"""The console: plain text, without messages of dependencies that the user cannot act on."""

import logging
import warnings

from rich.console import Console


def quiet() -> None:
    """Silence the messages of dependencies that the user cannot act on; all others still show."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # hardware found, tips, "max_steps reached"
    for message in (
        ".*does not have many workers",  # the images are in memory: workers would only copy them
        ".*will save all extracted features in buffer",  # torchmetrics' Inception Score, 40 MB for 10,000 samples
        ".*isinstance.treespec, LeafSpec.. is deprecated",  # Lightning's call of torch
        ".*your dataloader is not resumable",  # it is: gan.data.datamodule.Batches starts where global_step says
        ".*`srun` command is available",  # a run beside a cluster need not be on it
        ".*sync_dist=True",  # every process has the scores of all
        ".*GPU available but not used",  # gan.system.accelerators says which option uses it
        ".*exists and is not empty",  # the folder of a run that resumes itself
    ):
        warnings.filterwarnings("ignore", message)


def plain_console() -> Console:
    """Return a console that prints text as it is: brackets are no markup, and `:name:` is no emoji."""
    return Console(markup=False, emoji=False, highlight=False)
