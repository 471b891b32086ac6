"""What all runs need: imported once, by the process of which the runs of `hydra/launcher=local` are forks."""

# ruff: noqa: F401
import gan.run.build
import gan.run.outputs
import gan.run.resume
import gan.tracking
