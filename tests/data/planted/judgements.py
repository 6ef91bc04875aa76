"""What reading the shared files by eye has shown: lines that a check is right to flag, or may flag, and why.

By file, kind of defect and line (in a `.json` array the record's number, from 1) the reason in a few words. A line here
is no false alarm of that kind. It gets here only after a person, or whoever stands in for one, has read the row;
never because a check flags it.
"""

from __future__ import annotations

JUDGED: dict[str, dict[str, dict[int, str]]] = {}
