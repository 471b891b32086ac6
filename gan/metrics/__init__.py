"""Scores of generators: extractors of features, and what is computed from them."""
