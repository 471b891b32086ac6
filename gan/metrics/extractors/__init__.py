"""Networks whose features are compared: the data's own classifier, Inception, and the models of timm."""
