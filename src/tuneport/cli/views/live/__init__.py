"""The bars of jobs and answers, and the heartbeat of all other work: shown while a command works."""
