"""Live work while clients wait: event streams, endpoints, the usage of chats."""
