"""Runs the command as `python -m tuneport`, for an environment whose scripts are not on the PATH."""

from tuneport.cli.main import run

if __name__ == "__main__":
    run()
