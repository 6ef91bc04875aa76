"""How much a gateway carries on one machine, load and server together: `python benchmarks/gateway.py`.

The server is `tuneport serve` in a process of its own on a SQLite store with 10,000 ended jobs; the load comes from
this process over kept-alive connections. Five figures: requests a second that read one job, at saturation; the latency
of the same at 300 requests a second, counted from when each was due and not from when it could be sent; an upload
beside a plain write and a hash of the same bytes, with the server's memory; all jobs listed by cursor, first pages
beside last; and a chat beside the same chat without the gateway. What others do on the machine is in the figures: it
prints the load average.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from compare import write_rows
from sqlalchemy import insert

from tuneport.lifecycle.schema.tables import JobRequestRow, JobRow
from tuneport.lifecycle.store.store import Store
from tuneport.types import DataFile, JobState, JobStatus, PreparedData, TuneSpec, now

CONNECTIONS = 16
CHATS = 200
MODEL = "gpt-4.1-mini-2025-04-14"
BLOCK = 2**20


def job_id(number: int) -> str:
    return f"ftjob-bench{number:06d}"


def fill(url: str, jobs: int) -> None:
    """Ended jobs, a second apart, with everything that a real one has."""
    store = Store(url).unscoped()
    file = DataFile(path=Path("f.jsonl"), sha256="a" * 64, format="openai", rows=100, bytes=50_000)
    spec = TuneSpec(model="base", dataset=Path("f.jsonl")).model_dump(mode="json")
    prepared = PreparedData(training=file).model_dump(mode="json")
    ended = now()
    requests, rows = [], []
    for number in range(jobs):
        created = ended - timedelta(seconds=jobs - number)
        state = JobState(
            remote_id=f"r{number}", status=JobStatus.SUCCEEDED, raw_status="done", model="base",
            tuned_model=f"fake:{number}", trained_tokens=1000, hyperparameters={"n_epochs": 3, "batch_size": 1},
        )  # fmt: skip
        body = {"model": "base", "training_file": "file-1", "metadata": {"number": str(number)}}
        requests.append(
            {"id": job_id(number), "project": "default",
             "body": body, "backend": "fake", "tuned_model": f"ft:base:tuneport::{number:08d}",
             "state": "taken", "created_at": created, "results_at": ended}
        )  # fmt: skip
        rows.append(
            {"id": job_id(number), "token": f"t{number}", "project": "default",
             "backend": "fake", "model": "base", "spec": spec,
             "prepared": prepared, "status": "succeeded", "remote_id": f"r{number}",
             "state": state.model_dump(mode="json"), "tuned_model": f"fake:{number}", "created_at": created,
             "updated_at": ended, "finished_at": ended, "announced_end": ended, "submit_attempts": 1}
        )  # fmt: skip
    with store.database.transaction() as session:
        session.execute(insert(JobRequestRow), requests)
        session.execute(insert(JobRow), rows)
    store.close()


class Server:
    """`tuneport serve`, until the block ends."""

    def __init__(self, home: Path, upstream: str) -> None:
        environment = os.environ | {
            "TUNEPORT_HOME": str(home), "TUNEPORT_BACKEND": "fake", "OPENAI_API_KEY": "sk-benchmark-0123456789",
            "TUNEPORT_OPENAI_BASE_URL": upstream,
        }  # fmt: skip
        command = [sys.executable, "-m", "tuneport.cli.main", "serve", "--port", "0", "--json"]
        self._process = subprocess.Popen(command, env=environment, cwd=home, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Server:
        assert self._process.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            line = self._process.stdout.readline()
            if not line:
                raise SystemExit("the gateway did not start, see above")
            text += line
        self.port = int(json.loads(text)["base_url"].split(":")[2].split("/")[0])
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def memory(self, name: str) -> float:
        """VmRSS (now) or VmHWM (the most so far), in MiB."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


class Connection:
    """HTTP/1.1 by hand: a client library would take more of the two cores than the server."""

    async def open(self, port: int) -> Connection:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        return self

    async def ask(self, path: str, body: bytes | None = None) -> bytes:
        head = (
            f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer any\r\n"
        )
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._writer.write(head.encode() + b"\r\n" + (body or b""))
        answer = await self._reader.readuntil(b"\r\n\r\n")
        status, _, rest = answer.partition(b"\r\n")
        length = next(
            int(line.split(b":")[1]) for line in rest.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        content = await self._reader.readexactly(length)
        if b" 200 " not in status:
            raise SystemExit(f"{path}: {status.decode()} {content[:300].decode()}")
        return content

    def close(self) -> None:
        self._writer.close()


async def connections(port: int, count: int) -> list[Connection]:
    return [await Connection().open(port) for _ in range(count)]


async def saturated(port: int, jobs: int, seconds: float) -> float:
    """Requests a second."""
    ends, done = time.perf_counter() + seconds, 0

    async def ask(connection: Connection, number: int) -> None:
        nonlocal done
        while time.perf_counter() < ends:
            await connection.ask(f"/v1/fine_tuning/jobs/{job_id(number % jobs)}")
            number, done = number + 7919, done + 1

    began = time.perf_counter()
    opened = await connections(port, CONNECTIONS)
    await asyncio.gather(*(ask(connection, number) for number, connection in enumerate(opened)))
    return done / (time.perf_counter() - began)


async def open_loop(port: int, jobs: int, rate: float, seconds: float) -> list[float]:
    """Seconds from when each request was due to its answer, in order of length."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in await connections(port, 64):
        free.put_nowait(connection)
    took: list[float] = []

    async def one(number: int, due: float) -> None:
        connection = await free.get()
        await connection.ask(f"/v1/fine_tuning/jobs/{job_id(number * 7919 % jobs)}")
        took.append(time.perf_counter() - due)
        free.put_nowait(connection)

    began, tasks = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        tasks.append(asyncio.create_task(one(number, due)))
    await asyncio.gather(*tasks)
    return sorted(took)


async def listed(port: int, jobs: int) -> list[float]:
    """Seconds for each page of 100, from the newest to the oldest."""
    (connection,) = await connections(port, 1)
    took, after, seen = [], "", 0
    while True:
        began = time.perf_counter()
        page = json.loads(await connection.ask(f"/v1/fine_tuning/jobs?limit=100{after}"))
        took.append(time.perf_counter() - began)
        seen += len(page["data"])
        after = f"&after={page['data'][-1]['id']}"
        if not page["has_more"]:
            assert seen == jobs, f"{seen} of {jobs} jobs were listed"
            return took


async def chats(port: int, path: str, model: str) -> list[float]:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Where is my parcel?"}]}).encode()
    (connection,) = await connections(port, 1)
    took = []
    for _ in range(CHATS):
        began = time.perf_counter()
        await connection.ask(path, body)
        took.append(time.perf_counter() - began)
    return took


class Upstream(BaseHTTPRequestHandler):
    """A provider that answers at once."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": "On its way."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
        answer = {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": MODEL,
            "choices": [choice],
            "usage": usage,
        }
        told = json.dumps(answer).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(told)}\r\n\r\n"
        self.wfile.write(head.encode() + told)

    def log_message(self, *arguments: object) -> None:
        pass


def dataset(path: Path, megabytes: int) -> None:
    row = json.dumps(
        {"messages": [{"role": "user", "content": "q" * 400}, {"role": "assistant", "content": "a" * 400}]}
    )
    block = (row + "\n").encode() * (BLOCK // (len(row) + 1))
    with path.open("wb") as file:
        for _ in range(megabytes * 1_000_000 // len(block)):
            file.write(block)


def blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def written(source: Path, target: Path) -> float:
    """Seconds for the same bytes by hand: read, written and on the disk."""
    began = time.perf_counter()
    with target.open("wb") as file:
        for block in blocks(source):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    took = time.perf_counter() - began
    target.unlink()
    return took


def hashed(source: Path) -> float:
    began, digest = time.perf_counter(), hashlib.sha256()
    for block in blocks(source):
        digest.update(block)
    return time.perf_counter() - began


def uploaded(port: int, source: Path) -> float:
    boundary = "tuneport-benchmark"
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--{boundary}\r\n'
    part += 'Content-Disposition: form-data; name="file"; filename="b.jsonl"\r\n\r\n'
    end = f"\r\n--{boundary}--\r\n"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600, blocksize=BLOCK)

    def body() -> Iterator[bytes]:
        yield part.encode()
        yield from blocks(source)
        yield end.encode()

    length = len(part) + source.stat().st_size + len(end)
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Content-Length": str(length)}
    began = time.perf_counter()
    connection.request("POST", "/v1/files", body=body(), headers=headers | {"Host": "localhost"})
    answer = connection.getresponse()
    told = answer.read()
    took = time.perf_counter() - began
    if answer.status != 200:
        raise SystemExit(f"the upload was refused: {told[:300].decode()}")
    return took


def studied(server: Server, source: Path, rows: int) -> dict[str, Any]:
    """A dataset of so many different chats: seconds of its upload, its comparison, the same again, and its report."""
    write_rows(source, rows)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)

    def ask(path: str, body: dict[str, Any]) -> float:
        began = time.perf_counter()
        while True:  # 202: the same again, until it is there
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            told = answer.read()
            if answer.status == 200:
                return time.perf_counter() - began
            if answer.status != 202:
                raise SystemExit(f"{path}: {answer.status} {told[:300].decode()}")

    took = uploaded(server.port, source)
    connection.request("GET", "/v1/files?limit=1")
    file = json.loads(connection.getresponse().read())["data"][0]["id"]
    return {
        "rows": rows, "mb": source.stat().st_size / 1e6, "upload_seconds": took,
        "comparison_seconds": ask("/tuneport/v1/comparisons", {"training_file": file}),
        "again_seconds": ask("/tuneport/v1/comparisons", {"training_file": file}),
        "report_seconds": ask("/tuneport/v1/data_reports", {"file": file}),
        "peak_mib": server.memory("VmHWM"),
    }  # fmt: skip


def measure(jobs: int, megabytes: int, seconds: float, rows: int) -> dict[str, Any]:
    gc.collect()
    gc.freeze()  # the load must not stand still for tens of milliseconds: they would be the server's
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        fill(f"sqlite:///{home / 'tuneport.db'}", jobs)
        found: dict[str, Any] = {"cores": os.cpu_count(), "load_before": os.getloadavg()[0], "jobs": jobs}
        with Server(home, f"http://127.0.0.1:{upstream.server_port}/v1") as server:
            asyncio.run(saturated(server.port, jobs, 1.0))  # warm
            found["retrieve_per_second"] = asyncio.run(saturated(server.port, jobs, seconds))
            took = asyncio.run(open_loop(server.port, jobs, 300, seconds))
            found["ms_at_300"] = {
                name: took[int(len(took) * share)] * 1e3 for name, share in (("p50", 0.5), ("p99", 0.99))
            }
            pages = asyncio.run(listed(server.port, jobs))
            tenth = max(1, len(pages) // 10)
            first, last = statistics.median(pages[:tenth]), statistics.median(pages[-tenth:])
            found["list"] = {"pages": len(pages), "first_ms": first * 1e3, "last_ms": last * 1e3}
            through = asyncio.run(chats(server.port, "/v1/chat/completions", f"openai/{MODEL}"))
            direct = asyncio.run(chats(upstream.server_port, "/v1/chat/completions", MODEL))
            found["chat_ms"] = {
                "gateway": statistics.median(through) * 1e3, "direct": statistics.median(direct) * 1e3,
            }  # fmt: skip
            source = home / "data.jsonl"
            dataset(source, megabytes)
            size = source.stat().st_size / 1e6
            before = server.memory("VmHWM")
            plain, digest = written(source, home / "copy"), hashed(source)
            upload = uploaded(server.port, source)
            found["upload"] = {
                "mb": size, "seconds": upload, "write_seconds": plain, "sha256_seconds": digest,
                "peak_mib_before": before, "peak_mib_after": server.memory("VmHWM"),
            }  # fmt: skip
            if rows:
                found["dataset"] = studied(server, home / "rows.jsonl", rows)
        found["load_after"] = os.getloadavg()[0]
    upstream.shutdown()
    return found


def show(found: dict[str, Any]) -> None:
    upload, chat, pages = found["upload"], found["chat_ms"], found["list"]
    load = f"load average {found['load_before']:.1f} before, {found['load_after']:.1f} after"
    print(f"{found['cores']} cores, load and server together; {load}; {found['jobs']:,} jobs in SQLite")
    print(f"retrieve, saturated   {found['retrieve_per_second']:8,.0f} requests/s")
    print(f"retrieve at 300/s     {found['ms_at_300']['p99']:8.1f} ms p99, {found['ms_at_300']['p50']:.1f} ms median")
    print(f"list, pages of 100    {pages['first_ms']:8.1f} ms first tenth, {pages['last_ms']:.1f} ms last tenth")
    overhead = chat["gateway"] - chat["direct"]
    print(f"chat                  {overhead:8.1f} ms more than {chat['direct']:.1f} ms without the gateway, medians")
    speed, plain = (upload["mb"] / upload[name] for name in ("seconds", "write_seconds"))
    print(
        f"upload of {upload['mb']:.0f} MB      {speed:8,.0f} MB/s; written and synced alone {plain:,.0f} MB/s,", end=" "
    )
    print(f"hashed alone {upload['mb'] / upload['sha256_seconds']:,.0f} MB/s")
    print(
        f"server's peak memory  {upload['peak_mib_before']:8.0f} MiB before the upload, "
        f"{upload['peak_mib_after']:.0f} after"
    )
    if (data := found.get("dataset")) is not None:
        print(
            f"{data['rows']:,} rows, {data['mb']:.0f} MB: upload {data['upload_seconds']:.1f} s, comparison "
            f"{data['comparison_seconds']:.1f} s, again {data['again_seconds']:.2f} s, report "
            f"{data['report_seconds']:.1f} s; peak memory {data['peak_mib']:.0f} MiB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each of the two loads")
    parser.add_argument("--rows", type=int, default=0, help="also the comparison and the report of so many rows")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.jobs, given.megabytes, given.seconds, given.rows)
    print(json.dumps(found, indent=2)) if given.json else show(found)


if __name__ == "__main__":
    main()
