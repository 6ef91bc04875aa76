"""Tools for tests of a backend or of a client: the contract suite, emulators of providers, and a provider in a folder.

`contract` needs pytest; `emulators` and `fake` need no test tool. Nothing else in tuneport imports this package.
"""

import sys

if (pytest := sys.modules.get("pytest")) is not None:
    # Else a failure of the contract in another project's test run would show no values.
    pytest.register_assert_rewrite("tuneport.testing.contract")
