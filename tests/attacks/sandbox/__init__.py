"""Programs that try to get out of the sandbox, and a world outside that shows whether one did.

`python -m tests.attacks.sandbox` prints the table. Nothing here is shared with what is attacked but its entry.
"""
