"""Callbacks of training: evaluation, sample grids, monitors, checkpoints, interruption."""
