"""The child process that answers for local models: `python -m tuneport.infer`."""
