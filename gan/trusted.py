"""What a config may name as `_target_`: this suite, the libraries it is made of, and the caller's own modules.

Values may come from a sweep server or from a folder that someone sent, and must not be able to call just anything.
"""

import os
import pkgutil

OWN = tuple(  # modules in the folders that the caller put on the path by name
    f"{module.name}.*"
    for module in pkgutil.iter_modules(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
)
GENERATORS = ("gan.models.*", "gan.priors.*", *OWN)  # what a generator.yaml may
TARGETS = ("gan.*", "optuna.pruners.*", "pytorch_lightning.*", "torch.*", "torchvision.*", *OWN)
