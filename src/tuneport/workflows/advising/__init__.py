"""The parts of advice: evidence in the data, a probe of the base model, and the price of each option."""
