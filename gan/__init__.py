"""Generative adversarial networks: models, losses, penalties, data and metrics for comparing them."""

from omegaconf import OmegaConf

# A budget in epochs replaces the default budget in steps: ${steps_unless:${.max_epochs},5000}
OmegaConf.register_resolver("steps_unless", lambda epochs, steps: -1 if epochs > 0 else steps, replace=True)
