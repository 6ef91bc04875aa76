"""Contents of uploaded datasets by their digests, on this disk or in a bucket."""
