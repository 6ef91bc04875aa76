"""One run while it trains: its folder, checkpoints, reports, watchdogs."""
