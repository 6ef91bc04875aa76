"""A model's weights on its devices, and the adapters that share them."""
