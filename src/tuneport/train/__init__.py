"""The child process that trains: `python -m tuneport.train RUN_FOLDER`."""
