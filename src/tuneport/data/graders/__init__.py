"""Graders of reinforcement fine-tuning: their document, formulas and Python code."""
