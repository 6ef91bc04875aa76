"""The commands, a file for each one or group: parse arguments, call one workflow, show the result."""
