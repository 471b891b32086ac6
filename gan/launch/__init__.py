"""Launchers, forecasts and W&B agents. Importing this package registers its launchers with Hydra."""

from hydra.core.plugins import Plugins

from gan.launch.local import MachineLauncher
from gan.launch.slurm import ClusterLauncher

for launcher in (MachineLauncher, ClusterLauncher):
    Plugins.instance().register(launcher)
