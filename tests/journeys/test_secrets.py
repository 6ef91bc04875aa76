"""No key ever shows: everything is run with keys that can be recognised, and all that is left behind is searched.

What is left behind: log records of every library at DEBUG, stdout and stderr, the store's bytes, all files below the
home folder, objects as text and pickles, errors with their tracebacks, the command lines and environments of child
processes, and what the emulators received outside the `Authorization` header. Each is searched for each key plain,
URL-encoded and in base64.
"""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import typer

import tuneport
from tests.support.folders import FIXTURES
from tests.support.haystack import Haystack, forms
from tests.support.waiting import until
from tests.support.webhook_receiver import receiving
from tuneport.backends.local.backend import LocalBackend
from tuneport.cli.main import app, main
from tuneport.errors import AuthError, ConfigError, TuneportError
from tuneport.lifecycle.service import JobService
from tuneport.manifests import load_manifest
from tuneport.settings import Settings
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator
from tuneport.types import TuneSpec, Wandb

TRAIN = str(FIXTURES / "datasets" / "support_intents.train.jsonl")
SECRETS = {
    "the key of openai": "sk-needle/openai+0a1b2c3d4e",
    "the key of together": "tgp_v1_needle/together+5f6a7b8c9d",
    "the key of ours": "sk-needle/ours+ffeeddccbbaa",
    "a wrong key": "sk-needle/wrong+112233445566",
    "the key of W&B": "needle-wandb-99887766554433",
    "the token of the hub": "hf_needleHub00112233",
    "the password of an address": "needle-password-1234",
    "the password of the proxy": "needle-proxy-5678",
    "the password of the database": "needle-database-9012",
    "the secret of a webhook": "whsec_bmVlZGxlLXdlYmhvb2stMDEyMzQ1Njc4OQ==",
    "the key in a webhook's address": "needle-hook-address-3456",
    "the password of a notification": "needle-notify-7890",
}
OPENAI, TOGETHER, OURS, WRONG, WANDB, HUB, ADDRESS, PROXY, DATABASE, HOOK, HOOK_KEY, NOTIFY = SECRETS.values()
MODELS = {"openai": "gpt-4.1-mini-2025-04-14", "together": "Qwen/Qwen3.5-4B"}
PLACES = ("logs", "output", "store", "files", "objects", "errors", "processes", "wire")

CHILD = """
import json, os, sys, time
from pathlib import Path
if "--home" in sys.argv:  # asked to answer prompts
    from tuneport.infer_protocol import Done, GeneratedAnswer, Ready, decode_inference_request, encode_inference_message
    def say(reply):
        sys.stdout.write(encode_inference_message(reply).decode())
        sys.stdout.flush()
    say(Ready(model="tiny", device="cpu"))
    for line in sys.stdin:
        id = decode_inference_request(line).id
        numbers = {"prompt_tokens": 1, "completion_tokens": 1}
        say(GeneratedAnswer(id=id, index=0, text="tracking", finish_reason="stop", **numbers))
        say(Done(id=id))
else:
    import fcntl
    run = Path(sys.argv[1])
    lock = open(run / "lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    (run / "state.json").write_text(json.dumps({"status": "running"}))
    while not (run / "cancel").exists():
        time.sleep(0.01)
    (run / "state.json").write_text(json.dumps({"status": "cancelled"}))
"""

# Arguments of every verb. DATA is a dataset, JOB a job that succeeded, NEW a file that is not there yet. A verb of None
# waits for a person or takes minutes; those are started with --help.
VERBS: dict[str, list[str] | None] = {
    "demo": None,
    "serve": None,
    "review": None,
    "rate": None,
    "advise": ["DATA", "--need", "style"],
    "check": ["DATA"],
    "clean": ["DATA", "-o", "NEW"],
    "preview": ["DATA", "--model", "support-intents", "--backend", "openai"],
    "split": ["DATA", "-o", "NEW"],
    "convert": ["DATA", "--to", "alpaca", "-o", "NEW"],
    "label": ["DATA", "--model", "openai/gpt-4.1-mini", "-o", "NEW", "--labels", "refund,other", "--yes"],
    "compare": ["DATA", "--model", "support-intents"],
    "plan": ["DATA", "--model", "support-intents"],
    "submit": ["DATA", "--model", "support-intents", "--backend", "openai", "--seed", "5", "--yes", "--anyway"],
    "jobs": [],
    "show": ["JOB"],
    "watch": ["JOB"],
    "logs": ["JOB"],
    "metrics": ["JOB"],
    "cancel": ["JOB"],
    "resolve": ["JOB", "--not-started"],
    "chat": ["JOB", "Where is my parcel?"],
    "eval": [TRAIN.replace("train", "test"), "JOB", "--rows", "3", "--yes"],
    "backends": [],
    "models": [],
    "doctor": [],
    "pause": ["JOB"],
    "resume": ["JOB"],
    "delete": ["nobody", "--yes"],
    "checkpoints": ["JOB"],
    "files": [],
    "download": ["JOB"],
    "deploy": ["JOB"],
    "undeploy": ["nobody"],
    "deployments": [],
    "migrate": ["--from", "openai"],
    "store": [],
    "store upgrade": [],
    "store downgrade": ["--help"],
    "webhook secret": [],
    "webhook list": [],
    "webhook test": ["environment"],
    "webhook deliveries": [],
    "webhook resend": ["wh_nobody"],
    "token create": ["ci"],
    "token list": [],
    "token revoke": ["nobody"],
    "audit": [],
}


class Everything:
    """The run itself, each part a method. `haystack` is what it leaves behind."""

    job: str

    def __init__(self, folder: Path, openai: OpenAIEmulator, together: TogetherEmulator) -> None:
        self.folder, self.home, self.haystack = folder, folder / "home", Haystack()
        self.emulators = {"openai": openai, "together": together}
        self.codes: dict[str, int] = {}
        self.verbs: set[str] = set()
        self.data = str(folder / "train.jsonl")
        with open(TRAIN, encoding="utf-8") as rows:
            Path(self.data).write_text("".join(itertools.islice(rows, 40)), encoding="utf-8")

    # --- how things are run -----------------------------------------------------------------------------------------

    def command(self, *arguments: str) -> str:
        """Run a command in this process and keep all that it says, tracebacks included."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                self.codes.setdefault(" ".join(arguments), main(list(arguments)))
            except Exception as error:  # what --debug lets through
                self.haystack.put_error(f"the command {arguments[1]}", error)
        self.haystack.put("output", arguments[0], out.getvalue())
        self.haystack.put("output", arguments[0], err.getvalue())
        return out.getvalue()

    def refused(self, label: str, call: Callable[[], object], kind: type[BaseException] = TuneportError) -> None:
        with pytest.raises(kind) as caught:
            call()
        self.haystack.put_error(label, caught.value)

    # --- what is run ------------------------------------------------------------------------------------------------

    def jobs_on_both_providers(self) -> None:
        for name, emulator in self.emulators.items():
            # Somebody over there writes our key into the job's events, and into the reason of its failure.
            key = emulator.key
            echo = f"key {key}, {quote(key, safe='')}, {base64.b64encode(key.encode()).decode()}"
            event = {"id": "ftevent-echo", "object": "fine_tuning.job.event", "created_at": 1_790_000_000}
            event |= {"level": "info", "message": f"started with {echo}", "type": "message", "data": {"said": echo}}
            if name == "together":
                event |= {"object": "fine-tune-event", "created_at": "2026-09-01T00:00:00Z", "type": "job_start"}
            emulator.next_job(events=[event])
            model = ["--model", "support-intents", "--backend", name]
            job = json.loads(self.command("submit", "--yes", "--anyway", self.data, *model, "--wait", "--json"))
            assert job["status"] == "succeeded", job
            emulator.next_job(fails_with={"code": "server_error", "message": f"it failed: {echo}"}, events=[event])
            failed = json.loads(
                self.command(
                    "submit",
                    "--yes",
                    "--anyway",
                    "--again",
                    self.data,
                    *model,
                    "--suffix",
                    "second",
                    "--wait",
                    "--json",
                )
            )
            assert failed["status"] == "failed", failed
            # Together's short form of a job has no reason: it is in the events.
            assert "it failed" in failed["error"]["message"] + self.command("logs", failed["id"])
            for current in (job["id"], failed["id"]):
                assert "started with" in self.command("logs", current)
                self.command("show", current, "--json")
            if name == "openai":
                self.job = job["id"]

    def every_verb(self) -> None:
        known: set[str] = set()
        every: Any = typer.main.get_command(app)
        for name, command in every.commands.items():
            inside = getattr(command, "commands", {})
            known |= {f"{name} {each}" for each in inside}
            if not inside or command.callback is not None:
                known.add(name)
        for verb in sorted(known):
            given = VERBS.get(verb, ["--help"])
            self.verbs.add(verb)
            if given is None:
                self.command(*verb.split(), "--help")
                continue
            for before, after in (([], []), (["--debug"], ["--json"])):
                new = str(self.folder / f"{verb}{len(after)}.jsonl")
                arguments = [
                    {"DATA": self.data, "JOB": self.job, "NEW": new}.get(argument, argument) for argument in given
                ]
                self.command(*before, *verb.split(), *arguments, *after)

    def ends_that_are_told(self) -> None:
        """To a webhook and an address of notifications that answer with an error, and to such as do not answer."""
        from tuneport.lifecycle.webhooks.sender import WebhookSender

        with JobService() as workspace, receiving() as receiver:
            receiver.statuses = [500, 500]
            address = f"127.0.0.1:{receiver.port}/{HOOK_KEY}"
            notify = f"json://me:{NOTIFY}@{address.replace(HOOK_KEY, NOTIFY)} json://me:{NOTIFY}@127.0.0.1:9/{NOTIFY}"
            url = f"http://me:{HOOK_KEY}@{address}?key={HOOK_KEY}"
            settings = _with(workspace.settings, TUNEPORT_WEBHOOK_URL=url, TUNEPORT_NOTIFY=notify)
            sender = WebhookSender(workspace.store, settings)
            sender.send_due()
            workspace.store.requests.add("ftjob-told", {"model": "m"}, backend=None, tuned_model="ft:told", key=None)
            workspace.store.requests.cancel("ftjob-told")
            assert sender.send_due() == 3
            for thing in (sender, sender.webhooks, sender.notified, *workspace.store.webhooks.list_deliveries()):
                self.haystack.put_object(type(thing).__name__, thing)
            assert {row.state for row in workspace.store.webhooks.list_deliveries()} == {"waiting"} and len(
                receiver.received
            ) == 2

    def providers_that_repeat_the_key(self) -> None:
        with JobService() as workspace:
            for name, emulator in self.emulators.items():
                backend = workspace.backend(name)
                backend._sleep = lambda seconds: None  # type: ignore[attr-defined]
                key = emulator.key
                for echo in (key, quote(key, safe=""), base64.b64encode(key.encode()).decode()):
                    body = {"error": {"message": f"Bearer {echo} is wrong", "type": echo, "param": echo, "code": echo}}
                    for status in (400, 401, 403, 404, 429, 500):
                        emulator.fail(status=status, body=body, times=None, headers={"x-request-id": "req"})
                        self.refused(f"{status} of {name}", lambda backend=backend: backend.fetch("ft-1"))
                        if status == 401:
                            self.command("--debug", "show", self.job)
                        emulator.clear_faults()

    def keys_that_are_wrong(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for wrong in (WRONG, f"{WRONG}\n", f" {WRONG}", f"{WRONG}\u00e9"):
            with monkeypatch.context() as patch:
                patch.setenv("OPENAI_API_KEY", wrong)
                patch.setenv("TOGETHER_API_KEY", wrong)
                self.command("--debug", "doctor", "--json")
                self.command("chat", self.job, "Where is my parcel?")
                self.command("--debug", "chat", self.job, "Where is my parcel?", "--json")
                self.refused(
                    "a wrong key", lambda: tuneport.submit(self.data, model="support-intents", backend="together")
                )

    def address_with_a_password(self) -> None:
        """The server named `ours`: it gets the address's user and password, and wants a key."""
        settings = Settings.load()
        backend = tuneport.open_backend("ours", settings)
        self.refused("an address with a password", lambda: backend.fetch("ft-1"), AuthError)
        for thing in (backend, backend.manifest, settings.project, settings.project.backends["ours"]):
            self.haystack.put_object(type(thing).__name__, thing)
        backend.close()
        self.command("backends", "--json")
        self.command("--debug", "doctor")
        self.refused(
            "a proxy that is down",
            lambda: tuneport.open_backend("openai", _with(settings, HTTP_PROXY=f"http://me:{PROXY}@127.0.0.1:9")).fetch(
                "ft-1"
            ),
        )
        for url in (f"postgresql+psycopg://me:{DATABASE}@127.0.0.1:9/x", f"nonsense://me:{DATABASE}@nowhere/x"):
            self.refused("a database", lambda url=url: JobService(_with(settings, TUNEPORT_DATABASE_URL=url)))

    def keys_where_they_do_not_belong(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cases: list[dict[str, Any]] = [
            {"provider_options": {"wandb_api_key": WANDB}},
            {"provider_options": {"integrations": [{"type": "wandb", "wandb": {"project": WANDB}}]}},
            {"provider_options": {"wandb_name": OPENAI}},
            {"provider_options": {"hf_api_token": HUB}},
            {"metadata": {"note": f"made with {TOGETHER}"}},
            {"suffix": OPENAI},
        ]
        for name in self.emulators:
            for case in cases:
                given = {"model": "support-intents", "backend": name, **case}
                self.refused(f"a key in {next(iter(case))}", lambda given=given: tuneport.submit(self.data, **given))
        spec = TuneSpec(model="m", dataset=Path(TRAIN), wandb=Wandb(project=WANDB))
        self.refused("a key as the project", lambda: tuneport.open_backend("fake", Settings.load()).check(spec))
        for text in (
            f'[backends.ours]\nlike = "openai"\napi_key_env = "{OURS}"\n',
            f'[backends.ours]\nlike = "openai"\napi_key_env = "{TOGETHER.replace("/", "_").replace("+", "_")}"\n',
            f'[backends.ours]\nlike = "openai"\napi_key = "{OURS}"\n',
            f'[backends.openai.options]\napi_key = "{OURS}"\n',
            f'[backends.ours\nkey = "{OURS}"',
            f'backend = ["{OURS}"]',
        ):
            path = self.folder / "broken.toml"
            path.write_text(text)
            with monkeypatch.context() as patch:
                # Read once and kept, so each case is a file of its own.
                patch.setenv("TUNEPORT_CONFIG", str(path.rename(self.folder / f"broken-{len(text)}.toml")))
                self.command("doctor")
                self.command("--debug", "show", self.job)

    def local_children(self) -> None:
        script = self.folder / "child.py"
        script.write_text(CHILD)
        model = self.folder / "tiny-model"
        model.mkdir()
        (model / "config.json").write_text(json.dumps({"model_type": "llama"}))
        header = json.dumps({"weight": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}).encode()
        (model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
        command = (sys.executable, str(script))
        settings = Settings.load()
        backend = LocalBackend(load_manifest("local"), settings, train_command=command, infer_command=command)
        data = prepared_chats(self.folder)
        spec = TuneSpec(model=str(model), dataset=data.training.path)
        state = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("local"))
        self.haystack.put_object("a local state", state)
        run = self.home / "runs" / state.remote_id
        until(lambda: (run / "state.json").exists())
        self.haystack.put_process("the trainer", int(json.loads((run / "spawn.json").read_text())["pid"]))
        assert backend.complete(str(model), [{"role": "user", "content": "Where?"}]).text == "tracking"  # type: ignore[union-attr]
        (child,) = backend._serving.children._children.values()
        self.haystack.put_process("inference", child._child.pid)
        backend.cancel(state.remote_id)
        until(lambda: backend.fetch(state.remote_id).status.terminal)
        self.haystack.put_object("the local backend", backend)
        backend.close()

    def crash(self) -> None:
        """A bug of ours in a process of its own, with everything open: what Python prints of it."""
        program = (
            "import logging, tuneport; logging.basicConfig(level=1)\n"
            "from tuneport.lifecycle.service import JobService\n"
            "with JobService() as workspace:\n"
            "    backend = workspace.backend('openai'); list(backend.list_jobs()); key = backend.upstream.secret\n"
            "    print(workspace.settings, backend, backend.upstream, key, vars(backend))\n"
            "    raise RuntimeError(f'a bug, with {workspace.settings} and {backend.upstream}')\n"
        )
        environment = os.environ | {"PYTHONPATH": str(Path(tuneport.__file__).parent.parent)}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, timeout=120)
        assert done.returncode == 1 and b"a bug, with" in done.stderr
        self.haystack.put("output", "a crash", done.stdout)
        self.haystack.put("output", "a crash", done.stderr)

    def objects(self) -> None:
        with JobService() as workspace:
            settings = workspace.settings
            for thing in (settings, workspace, workspace.store, workspace.store.database.engine, workspace.worker):
                self.haystack.put_object(type(thing).__name__, thing)
            for row in workspace.store.jobs.all():
                for thing in (row, row.tune_spec, row.job_state, row.prepared_data, workspace.events(row.id)):
                    self.haystack.put_object(f"{type(thing).__name__} of {row.id}", thing)
            for name in ("openai", "together", "local", "fake", "ours"):
                backend = workspace.backend(name)
                for thing in (backend, backend.manifest, getattr(backend, "upstream", None)):
                    self.haystack.put_object(f"{type(thing).__name__} of {name}", thing)
        job = tuneport.job(self.job)
        self.haystack.put_object("Job", job)
        self.haystack.put_object("events", job.events())
        for name in tuneport.__all__:
            self.haystack.put_object(name, getattr(tuneport, name))


def _with(settings: Settings, **environment: str) -> Settings:
    variables = {name: value.get_secret_value() for name, value in settings.environment.items()}
    return Settings.load(Path.cwd(), variables | environment)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    folder = tmp_path_factory.mktemp("secrets")
    root, monkeypatch = logging.getLogger(), pytest.MonkeyPatch()
    level = root.level
    with OpenAIEmulator(key=OPENAI, pace=0.01) as openai, TogetherEmulator(key=TOGETHER, pace=0) as together:
        run = Everything(folder, openai, together)
        for name in list(os.environ):
            if name.lower().endswith("_proxy"):
                monkeypatch.delenv(name)
        environment = {
            "TUNEPORT_HOME": str(run.home),
            "TUNEPORT_OPENAI_BASE_URL": openai.base_url,
            "TUNEPORT_TOGETHER_BASE_URL": together.base_url,
            "OPENAI_API_KEY": OPENAI,
            "TOGETHER_API_KEY": TOGETHER,
            "HF_HUB_OFFLINE": "1",
            # Places in which a key is not looked for by name.
            "MY_NOTES": f"openai is {OPENAI}",
            "TUNEPORT_WEBHOOK_URL": f"http://me:{HOOK_KEY}@127.0.0.1:9/{HOOK_KEY}?key={HOOK_KEY}",
            "TUNEPORT_WEBHOOK_SECRET": HOOK,
            "TUNEPORT_WEBHOOK_ALLOW_PRIVATE": "1",
            "TUNEPORT_NOTIFY": f"json://me:{NOTIFY}@127.0.0.1:9/{NOTIFY}",
            "STORAGE": f"https://me:{ADDRESS}@storage.example/bucket",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        work = folder / "work"
        work.mkdir()
        monkeypatch.chdir(work)
        (work / ".env").write_text(f"OURS_API_KEY={OURS}\nWANDB_API_KEY={WANDB}\nHF_TOKEN={HUB}\nnot a line {OURS}\n")
        address = openai.base_url.replace("://", f"://me:{ADDRESS}@")
        table = f'[backends.ours]\nlike = "openai"\nbase_url = "{address}"\napi_key_env = "OURS_API_KEY"\n'
        table += "[backends.together.options]\npoll_interval = 0.01\n"
        (work / "tuneport.toml").write_text(table)
        root.addHandler(run.haystack)
        root.setLevel(1)
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                run.jobs_on_both_providers()
                run.every_verb()
                run.ends_that_are_told()
                run.providers_that_repeat_the_key()
                run.keys_that_are_wrong(monkeypatch)
                run.address_with_a_password()
                run.keys_where_they_do_not_belong(monkeypatch)
                run.local_children()
                run.crash()
                run.objects()
        finally:
            root.removeHandler(run.haystack)
            root.setLevel(level)
            monkeypatch.undo()
        for warning in warned:
            run.haystack.put("output", "a warning", str(warning.message))
        for emulator in (openai, together):
            run.haystack.put_wire(emulator.name, emulator.log)
        run.haystack.put_files(run.home)
        yield run


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_lies_in(everything: Everything, place: str) -> None:
    assert everything.haystack.find(SECRETS, place) == []


@pytest.mark.parametrize("place", PLACES)
def test_each_place_was_filled_and_a_planted_secret_is_found_in_it(everything: Everything, place: str) -> None:
    assert sum(len(content) for _, content in everything.haystack.places[place]) > 1000
    for form in (
        OPENAI,
        quote(OPENAI, safe=""),
        base64.b64encode(OPENAI.encode()).decode(),
        base64.b64encode(f"me:{OPENAI}".encode()).decode(),
        base64.urlsafe_b64encode(f"Bearer {OPENAI} and more".encode()).decode(),
        json.dumps({"key": OPENAI}),
    ):
        planted = Haystack()
        label, content = everything.haystack.places[place][0]
        planted.put(place, label, content + form.encode() + content)
        assert planted.find(SECRETS) == [f"the key of openai in {place} ({label})"], form


def test_what_is_caught_includes_what_a_run_writes_itself(tmp_path: Path) -> None:
    """Each way into the haystack by the real thing: a log record, a file, an object, a process, a request."""
    haystack = Haystack()
    logger = logging.getLogger("a library")
    logger.addHandler(haystack)
    logger.warning("sending %s", {"key": OPENAI})
    logger.removeHandler(haystack)
    (tmp_path / "tuneport.db-wal").write_bytes(b"\0\1" + OPENAI.encode() + b"\2")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "run.json").write_text(json.dumps({"environment": OPENAI}))
    haystack.put_files(tmp_path)
    haystack.put_object("a spec", TuneSpec(model=OPENAI, dataset=tmp_path))
    haystack.put_error("an error", ValueError(f"the key is {OPENAI}"))
    program = [sys.executable, "-c", "print('here', flush=True); input()", OPENAI]
    child = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"KEY": OPENAI})
    assert child.stdout is not None and child.stdout.readline()  # before that it may still be this program
    haystack.put_process("a child", child.pid)
    child.communicate(b"\n", timeout=60)
    with OpenAIEmulator(key="another") as emulator:
        import httpx

        httpx.post(f"{emulator.base_url}/files", params={"key": OPENAI}, headers={"x-key": OPENAI}, content=OPENAI)
        httpx.get(f"{emulator.base_url}/files", headers={"Authorization": f"Bearer {WRONG}"})
        haystack.put_wire("openai", emulator.log)
    found = haystack.find(SECRETS)
    assert {line.partition(" in ")[2].split(" ")[0] for line in found} == {*PLACES} - {"output"}
    assert all(line.startswith("the key of openai") for line in found), "the header that is for the key is no find"
    assert {"cmdline of a child", "environ of a child"} <= {line.partition("(")[2].rstrip(")") for line in found}


def test_forms_are_found_wherever_they_begin() -> None:
    for before in range(7):
        for after in range(7):
            text = base64.b64encode(b"x" * before + OPENAI.encode() + b"y" * after)
            assert any(form in text for form in forms(OPENAI)), (before, after)
    assert not any(form in base64.b64encode(b"something else entirely, and long enough") for form in forms(OPENAI))


def test_every_verb_of_the_command_line_was_run(everything: Everything) -> None:
    assert everything.verbs - VERBS.keys() == set(), "give the new verb its arguments in VERBS"
    succeeded = {verb for verb in VERBS if VERBS[verb] is not None} - {
        line.split(" ")[0] for line, code in everything.codes.items() if code != 0
    }
    assert {"jobs", "show", "logs", "metrics", "chat", "eval", "compare", "split", "backends"} <= succeeded


def test_settings_and_backends_refuse_to_be_pickled(settings: Settings) -> None:
    import pickle

    for thing in (settings, tuneport.open_backend("openai", settings)):
        with pytest.raises(TypeError, match="hold.* keys and cannot be pickled"):
            pickle.dumps(thing)


@pytest.mark.parametrize("provider", [OpenAIEmulator, TogetherEmulator])
def test_address_with_a_user_sends_it_as_a_header_and_not_in_the_address(
    settings: Settings, provider: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with provider() as emulator, caplog.at_level(1):
        name = emulator.name.upper()
        environment = {f"TUNEPORT_{name}_BASE_URL": emulator.base_url.replace("://", "://me:p%40ss@")}
        backend = tuneport.open_backend(emulator.name, _with(settings, **environment, **{f"{name}_API_KEY": "x" * 20}))
        with pytest.raises(AuthError):
            backend.fetch("ftjob-1")
        backend.close()
    assert "p%40ss" not in caplog.text and "p@ss" not in caplog.text
    headers = emulator.log[-1].request_headers
    assert headers["authorization"] == f"Basic {base64.b64encode(b'me:p@ss').decode()}"
    assert headers["host"] == f"127.0.0.1:{emulator._port}"


def test_key_of_the_environment_in_a_field_of_the_spec_is_refused(settings: Settings) -> None:
    backend = tuneport.open_backend("fake", _with(settings, WANDB_API_KEY=WANDB, KEY_FILE_TOKEN="/home/me/key"))
    with pytest.raises(ConfigError, match="metadata holds one of the keys of the environment"):
        backend.check(TuneSpec(model="m", dataset=Path(TRAIN), metadata={"a": f"x {WANDB} y"}))
    backend.check(TuneSpec(model="m", dataset=Path("/home/me/key/train.jsonl"), metadata={"a": "b"}))
