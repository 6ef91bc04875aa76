"""Faster training in less memory: packing, attention, fused losses, smaller batches."""
