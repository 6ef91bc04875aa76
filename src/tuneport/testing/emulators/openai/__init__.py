"""OpenAI and Azure as a server on this machine: files, jobs, events, checkpoints, chats."""
