"""Real images: how they are found, decoded, cached and fed to training."""
