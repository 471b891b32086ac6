"""How good are the samples: extractors of features, and the scores computed from them."""
