"""Generative adversarial networks: models, losses, penalties, data and metrics for comparing them."""
