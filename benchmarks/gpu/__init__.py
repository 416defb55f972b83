"""The proof on a GPU: see `benchmarks/gpu/__main__.py` and docs/gpu.md."""
