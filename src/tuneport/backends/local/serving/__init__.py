"""Inference servers for local models: an inference child, vLLM, or a server that is there already."""
