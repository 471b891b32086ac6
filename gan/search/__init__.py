"""Optuna studies over runs: how they are kept, run, pruned and shown."""

PRUNED = "pruned_at_step"  # a trial's user attribute, and a key in its W&B run's summary: where its study gave it up
