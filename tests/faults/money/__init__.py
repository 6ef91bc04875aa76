"""The bench of paid jobs: whatever an unknown outcome looks like, one submit starts one job without a person's word.

The real command line runs as processes of its own against servers of the bench's own, which keep a ledger of each job
that they carried out. Judged are exit codes, outputs and ledgers alone. `python -m tests.faults.money` runs all cases.
"""
