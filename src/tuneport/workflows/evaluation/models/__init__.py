"""The models of an evaluation: their names, backends and prices."""
