"""The files that each run leaves in its folder."""

CONFIG, METRICS, HISTORY, GENERATOR = "config.yaml", "metrics.json", "history.jsonl", "generator.safetensors"
LAST, BEST = "checkpoints/last.ckpt", "checkpoints/best.ckpt"
