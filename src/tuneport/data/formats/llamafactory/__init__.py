"""LLaMA-Factory's alpaca and sharegpt files."""
