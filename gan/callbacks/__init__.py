"""What happens beside training: scores, sample grids, monitors, and an end before its time."""
