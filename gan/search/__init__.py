"""Optuna studies that outlive their processes: the sweeper, what a trial reports, and what is shown."""
