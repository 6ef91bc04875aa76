"""Pages that are one file each: no network, no script, light and dark, made to be read and printed."""
