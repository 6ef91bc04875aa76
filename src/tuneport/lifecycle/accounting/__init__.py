"""The accounts of jobs: what they cost and took, budgets, and how good the estimates were."""
