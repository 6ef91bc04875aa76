"""What a comparison says beyond its table: break-even over time and traffic, as a page and as a file of rows."""
