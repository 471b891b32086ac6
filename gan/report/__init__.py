"""Reports over many runs: statistics, one HTML page that needs no network, and the same as a W&B report."""
