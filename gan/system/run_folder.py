"""The files that each run writes into its folder."""

CONFIG, METRICS, HISTORY, GENERATOR = "config.yaml", "metrics.json", "history.jsonl", "generator.safetensors"
LAST, BEST = "checkpoints/last.ckpt", "checkpoints/best.ckpt"
