"""Real images: found, decoded, cached and loaded in batches; and the z and labels to score generators on."""
