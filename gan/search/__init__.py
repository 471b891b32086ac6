"""Optuna studies over many runs. Importing this package registers its sweeper with Hydra."""

from hydra.core.plugins import Plugins

from gan.search.sweeper import StudySweeper

Plugins.instance().register(StudySweeper)
