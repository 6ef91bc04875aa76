"""Personal data and secrets: found by shape and check digits, and replaced by consistent placeholders.

What is looked for is in network.py, phone.py, accounts.py, national_ids.py and secrets.py; `search.py` puts it
together, `redaction.Redactor` replaces. What cannot belong to a person is left out: the domains, addresses and numbers
reserved for documentation, tests and fiction, and the samples that every manual prints. Names of persons and postal
addresses have no shape and are not found.
"""
