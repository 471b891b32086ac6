"""The machine and the services around a run: console, files, precision, signals, the W&B server."""
