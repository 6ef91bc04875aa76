"""A folder as a tar file, made while it is sent: it is never whole on the disk or in memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tarfile import BLOCKSIZE, PAX_FORMAT, TarInfo

from tuneport.lifecycle.contents.contents import read_stored_content_blocks


def stream_dashboard_tar(folder: Path, name: str, remove: Path) -> Iterator[bytes]:
    """Yield `folder` as a tar archive under `name`, in chunks. `remove` is deleted afterwards, even if the client
    goes away."""
    try:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            entry = TarInfo(f"{name}/{path.relative_to(folder)}")
            entry.size, entry.mtime = path.stat().st_size, int(path.stat().st_mtime)
            yield entry.tobuf(PAX_FORMAT)
            yield from read_stored_content_blocks(path.open("rb"))
            yield bytes(-entry.size % BLOCKSIZE)
        yield bytes(2 * BLOCKSIZE)  # the end
    finally:
        shutil.rmtree(remove, ignore_errors=True)
