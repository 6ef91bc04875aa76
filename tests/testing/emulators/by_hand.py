"""Starts an emulator by `python -m`, and tunes a model on it as somebody without tuneport's tests would."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Told in a child of any Python that has the SDK, so that a clean environment can do it, too.
PROGRAM = """
import json, sys, time
import openai

told, path = json.loads(sys.argv[1]), sys.argv[2]
client = openai.OpenAI(base_url=told["base_url"], api_key=told["key"])
file = client.files.create(file=open(path, "rb"), purpose="fine-tune")
job = client.fine_tuning.jobs.create(training_file=file.id, model="gpt-4.1-mini")
end = time.monotonic() + 60
while job.status not in ("succeeded", "failed", "cancelled") and time.monotonic() < end:
    time.sleep(0.02)
    job = client.fine_tuning.jobs.retrieve(job.id)
print(job.model_dump_json())
"""


@contextmanager
def started(
    python: Path | str, provider: str, *options: str, **process: Any
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Yield the process of an emulator and what it printed, and end it."""
    command = [python, "-m", "tuneport.testing.emulators", provider, "--json", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, **process) as running:
        try:
            assert running.stdout is not None
            yield running, json.loads(running.stdout.readline())
        finally:
            running.kill()


def job_that_succeeds(
    told: Mapping[str, Any], folder: Path, python: Path | str = sys.executable, **process: Any
) -> dict[str, Any]:
    """Upload ten rows, tune a model on them with the `openai` package, and return the job as it ended."""
    row = {"messages": [{"role": "user", "content": "Where is it?"}, {"role": "assistant", "content": "tracking"}]}
    path = folder / "rows.jsonl"
    path.write_text((json.dumps(row) + "\n") * 10)
    command = [python, "-c", PROGRAM, json.dumps(told), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, **process)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
