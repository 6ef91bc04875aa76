"""Loads a base model and makes it trainable: adapters, quantisation, sharding, vocabulary."""
