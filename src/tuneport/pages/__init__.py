"""Pages that are one file each: no network, no script, light and dark, made to be read and printed."""

OPEN_TO_OTHER_ROOMS = (
    "charts",
    "lines",
    "notebook",
    "templates",
)
"""The files here that other rooms import. The rest may change without a look elsewhere."""
