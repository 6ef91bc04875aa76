"""Containers of datasets: JSON lines, a JSON array, CSV, Parquet, Arrow, each a file here; packed with gzip or zstd.

Whatever the container, reading gives rows of JSON with their numbers (`source.Source`), so that formats, checks and
conversions know nothing of it. Writing takes lines of JSON (`output.open_sink`). A row that has no JSON is a `BadRow`;
a file that cannot be read on is a located DatasetError. Memory does not grow with the rows.
"""
