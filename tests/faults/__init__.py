"""The fault bench: one whole run, from submit to download, with every fault at every one of its requests.

`journey` is the run, as a user with the real store and the vendors' real SDKs would have it; `kinds` are the faults;
`bench` runs a case against an emulator and judges what is left on both sides; `killing` does the same with a process
that is killed and started again. `python -m tests.faults` runs all of it and prints the table.
"""
