"""Generative adversarial networks: models, losses, penalties, data and metrics for comparing them."""

import io
import sys

from omegaconf import OmegaConf


def count_recipe_images() -> int | None:
    """Return what `gan.run.images_seen.count_recipe_images` does, imported at its first use."""
    from gan.run import images_seen

    return images_seen.count_recipe_images()


# A budget in epochs replaces the default budget in steps: ${steps_unless:${.max_epochs},5000}
OmegaConf.register_resolver("steps_unless", lambda epochs, steps: -1 if epochs > 0 else steps, replace=True)
# A value that depends on whether a config group has parts beside the listed: ${if_any:${penalty},layer,batch,[lecam]}
OmegaConf.register_resolver(
    "if_any",
    lambda parts, value, otherwise, beside=(): value if {*(parts or ())} - {*beside} else otherwise,
    replace=True,
)
# The images that the discriminator sees by the chosen recipe's own settings: ${recipe_images:}
OmegaConf.register_resolver("recipe_images", count_recipe_images, replace=True)

# A terminal or a pipe that lacks a letter, in a name or a table's frame, shows its code; Python would raise
for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
