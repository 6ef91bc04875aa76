"""The parts of a comparison beside its table: break-even over time and traffic, the page and the CSV file."""
