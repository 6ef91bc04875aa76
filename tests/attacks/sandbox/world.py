"""What lies outside the sandbox: files, sockets, keys and a process of the user, and what has become of them."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import secrets
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.attacks.sandbox.watching import Watch

_C = ctypes.CDLL(None, use_errno=True)
_C.shmat.restype = ctypes.c_void_p
_USER_KEYRING = -4
SECRET = "ATTACK_SECRET"
_VICTIM = """
import ctypes, sys, time
text = ctypes.create_string_buffer(sys.argv[1].encode())
kept = open(sys.argv[2])
print(ctypes.addressof(text), kept.fileno(), flush=True)
time.sleep(9999)
"""


class World:
    """Made once for a column of the table; `prepare` is called before each attack. Close it."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="attacked-"))
        self.secret = os.environ[SECRET]
        self.name = "name-" + secrets.token_hex(8)
        self.token = ""
        self.said, self.took = "", 0.0
        self.log: list[bytes] = []
        self.files = {key: self.home / key for key in ("file", "folder", "new", "link", "tool", "padded")}
        self.files |= {"secret_file": self.home / "secret.txt", "shm_new": Path("/dev/shm", self.name + "-new")}
        self.shm = Path("/dev/shm", self.name)
        os.chdir(self.home)
        self._make_files_to_read()
        self._listen()
        self._make_shared()
        self.helper = subprocess.Popen(["sleep", "9999"], process_group=0)
        self.group = self.helper.pid
        self.victim: subprocess.Popen[bytes] | None = None
        self.victim_tells: list[int] = []
        self.watch = Watch(lambda: self.victim.pid if self.victim else 0)

    def _make_files_to_read(self) -> None:
        secret = self.files["secret_file"]
        secret.write_text(self.secret)
        secret.chmod(0o600)
        self.files["padded"].write_bytes(bytes(100_000 + secrets.randbelow(10**6)))
        self.left_open = os.open(secret, os.O_RDONLY)
        os.set_inheritable(self.left_open, True)
        self.time = 10**9 + secrets.randbelow(10**8)
        os.utime(secret, (self.time, self.time))
        self.size = self.files["padded"].stat().st_size
        (self.home / self.name).touch()
        os.symlink(self.name, self.files["link"])
        bits = [secrets.randbelow(2) for _ in range(40)]
        self.maybe = [self.home / f"maybe-{number}" for number in range(40)]
        for path, bit in zip(self.maybe, bits, strict=True):
            if bit:
                path.touch(0o600)
        self.which = "".join(map(str, bits))
        self.users = len(Path("/etc/passwd").read_text())
        self.host = os.uname().nodename
        self.shadow = Path("/etc/shadow").read_text()[:20] if os.geteuid() == 0 else "-"
        self.shm.write_text(self.secret)
        self.shm.chmod(0o600)

    def _listen(self) -> None:
        self.sockets: list[socket.socket] = []
        unix = {"stream": socket.SOCK_STREAM, "datagram": socket.SOCK_DGRAM, "packets": socket.SOCK_SEQPACKET}
        for name, kind in unix.items():
            self._serve(socket.AF_UNIX, kind, str(self.home / name))
        self._serve(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + self.name)
        self.tcp = self._serve(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        self.tcp6 = self._serve(socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0))
        self.udp = self._serve(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        if os.geteuid() == 0:
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)
            self.sockets.append(raw)
            threading.Thread(target=self._hear, args=(raw,), daemon=True).start()
        with socket.create_server(("127.0.0.1", 0)) as other:
            self.free = other.getsockname()[1]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
        self.tmux, self.agent = str(self.home / "tmux"), str(self.home / "agent")
        subprocess.run(["tmux", "-S", self.tmux, "-f", "/dev/null", "new-session", "-d", "sleep 9999"], **quiet)
        self.agent_process = subprocess.Popen(["ssh-agent", "-D", "-a", self.agent], stdout=subprocess.DEVNULL)

    def _serve(self, family: int, kind: int, address: Any) -> int:
        server = socket.socket(family, kind)
        server.bind(address)
        self.sockets.append(server)
        if kind != socket.SOCK_DGRAM:
            server.listen(9)
        threading.Thread(target=self._hear, args=(server,), daemon=True).start()
        return 0 if family == socket.AF_UNIX else int(server.getsockname()[1])

    def _hear(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                if server.type in (socket.SOCK_DGRAM, socket.SOCK_RAW):
                    self.log.append(server.recv(4096))
                    continue
                client, _ = server.accept()
                client.settimeout(2)
                with client, contextlib.suppress(OSError):
                    self.log.append(client.recv(4096))

    def _make_shared(self) -> None:
        self.sysv = secrets.randbelow(2**30) + 1
        self.shared = _C.shmget(self.sysv, 4096, 0o1600)
        self.at = _C.shmat(self.shared, None, 0)
        self.semaphores = _C.semget(self.sysv, 1, 0o1600)
        self.messages = _C.msgget(self.sysv, 0o1600)
        self.posix = _C.syscall(240, self.name.encode(), os.O_CREAT | os.O_RDWR | os.O_NONBLOCK, 0o600, 0)
        key = _C.syscall(248, b"user", self.name.encode(), self.secret.encode(), len(self.secret), _USER_KEYRING)
        _C.syscall(250, 5, key, 0x3F3F0000)

    def prepare(self, *, fresh_victim: bool) -> dict[str, Any]:
        """Put everything into its first state. Return what the program is told."""
        self.token = "token-" + secrets.token_hex(8)
        self.said, self.took = "", 0.0
        self.log.clear()
        file, folder = self.files["file"], self.files["folder"]
        if self.is_mounted():
            subprocess.run(["umount", str(folder)], check=True)
        for path in (folder, self.files["new"], Path(f"{file}.moved"), file, self.files["shm_new"]):
            if os.path.lexists(path):
                if path.is_dir() and not path.is_symlink():
                    path.chmod(0o700)
                    shutil.rmtree(path)
                else:
                    path.unlink()
        file.write_text("as it was")
        file.chmod(0o666)
        os.setxattr(file, "user.kept", self.secret.encode())
        folder.mkdir(mode=0o755)
        tool = self.files["tool"]
        tool.write_text(f"#!/bin/sh\ntouch {self.files['new']}\n")
        tool.chmod(0o755)
        ctypes.memmove(self.at, self.secret.encode() + b"\0", len(self.secret) + 1)
        _C.semctl(self.semaphores, 0, 16, 0)
        if os.geteuid() == 0:
            with contextlib.suppress(OSError):
                Path("/dev/kmsg").write_text(self.token + "\n")
        self._victim(fresh_victim)
        told = {key: str(path) for key, path in self.files.items()}
        told |= {key: str(self.home / key) for key in ("stream", "datagram", "packets", "tmux", "agent")}
        told |= {key: getattr(self, key) for key in ("name", "token", "tcp", "tcp6", "udp", "free", "sysv")}
        told |= {
            "part": self.name[:10],
            "home": str(self.home),
            "maybe": [str(path) for path in self.maybe],
            "shm": str(self.shm),
        }
        assert self.victim is not None
        told |= {"victim": self.victim.pid, "address": self.victim_tells[0], "victim_file": self.victim_tells[1]}
        return told | {"caller": os.getpid()}

    def _victim(self, fresh: bool) -> None:
        if self.victim is not None and not fresh:
            self.token = self.victim_token
        if self.victim is None or fresh:
            self.end_victim()
            self.victim_token = self.token
            command = [sys.executable, "-I", "-c", _VICTIM, self.secret, str(self.files["secret_file"]), self.token]
            self.victim = subprocess.Popen(command, stdout=subprocess.PIPE, process_group=self.group)
            assert self.victim.stdout is not None
            self.victim_tells = [int(word) for word in self.victim.stdout.readline().split()]

    def end_victim(self) -> None:
        if self.victim is not None:
            self.victim.kill()
            self.victim.wait()

    def close(self) -> None:
        self.end_victim()
        for process in (self.helper, self.agent_process):
            process.kill()
            process.wait()
        subprocess.run(["tmux", "-S", self.tmux, "kill-server"], capture_output=True, check=False)
        for server in self.sockets:
            server.close()
        _C.shmctl(self.shared, 0, 0)
        _C.semctl(self.semaphores, 0, 0)
        _C.msgctl(self.messages, 0, 0)
        _C.syscall(241, self.name.encode())
        for name in (self.name, self.token):
            if (key := self.key(name)) is not None:
                _C.syscall(250, 9, key, _USER_KEYRING)
        self.shm.unlink()
        os.chdir("/")
        shutil.rmtree(self.home, ignore_errors=True)

    # --- what has become of it -----------------------------------------------------------------------------------

    def told(self, what: object) -> bool:
        """Return whether the run's last words hold what only the outside knows."""
        return f"told:{what}" in self.said

    def stat(self, key: str) -> os.stat_result:
        return self.files[key].stat()

    def mode(self, key: str) -> int:
        return stat.S_IMODE(self.stat(key).st_mode)

    def exists(self, key: str) -> bool:
        return os.path.lexists(self.files[key])

    def text(self, key: str) -> str:
        return self.files[key].read_text()

    def attributes(self) -> list[str]:
        return os.listxattr(self.files["file"])

    def flagged(self) -> bool:
        with self.files["file"].open() as file:
            flags = fcntl.ioctl(file, 0x80086601, bytes(8))
        return bool(struct.unpack("Q", flags)[0] & 0x40)

    def is_mounted(self) -> bool:
        return f" {self.files['folder']} " in Path("/proc/mounts").read_text()

    def heard(self) -> bool:
        time.sleep(0.05)
        message = ctypes.create_string_buffer(8 + 4096)
        if (length := _C.msgrcv(self.messages, message, 4096, 0, 0o4000)) > 0:
            self.log.append(message.raw[8 : 8 + length])
        if (length := _C.syscall(243, self.posix, message, 8192, 0, 0)) > 0:
            self.log.append(message.raw[:length])
        return any(self.token.encode() in said for said in self.log)

    def was_served(self) -> bool:
        return self.token.encode() in self.watch.received

    def agent_locked(self) -> bool:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.connect(self.agent)
            agent.send(struct.pack(">IBI", 6, 23, 1) + b"x")  # unlocking succeeds where it was locked
            return agent.recv(9)[4] == 6

    def victim_state(self) -> str:
        assert self.victim is not None
        if self.victim.poll() is not None:
            return "X"
        return self.victim_stat(2)

    def victim_stat(self, field: int) -> str:
        assert self.victim is not None
        return Path(f"/proc/{self.victim.pid}/stat").read_text().rsplit(")", 1)[1].split()[field - 2]

    def victim_io(self) -> int:
        assert self.victim is not None
        return int(_C.syscall(252, 1, self.victim.pid))

    def victim_limit(self) -> int:
        import resource

        assert self.victim is not None
        return resource.prlimit(self.victim.pid, resource.RLIMIT_NOFILE)[0]

    def victim_processors(self) -> set[int]:
        assert self.victim is not None
        return os.sched_getaffinity(self.victim.pid)

    def victim_memory(self) -> bytes:
        assert self.victim is not None
        with open(f"/proc/{self.victim.pid}/mem", "rb", 0) as memory:
            memory.seek(self.victim_tells[0])
            return memory.read(5)

    def victim_oom(self) -> str:
        assert self.victim is not None
        return Path(f"/proc/{self.victim.pid}/oom_score_adj").read_text().strip()

    def was_traced(self) -> bool:
        return self.watch.traced

    def key(self, name: str) -> int | None:
        found = _C.syscall(250, 10, _USER_KEYRING, b"user", name.encode(), 0)
        return None if found < 0 else int(found)

    def shared_memory(self) -> bytes:
        return ctypes.string_at(self.at, 5)

    def semaphore(self) -> int:
        return int(_C.semctl(self.semaphores, 0, 12))

    @property
    def most_memory(self) -> int:
        return self.watch.memory

    @property
    def most_nameless(self) -> int:
        return self.watch.nameless

    @property
    def most_disk(self) -> int:
        return self.watch.disk

    @property
    def most_processes(self) -> int:
        return self.watch.processes

    @property
    def most_threads(self) -> int:
        return self.watch.threads

    def survives(self, token: str) -> bool:
        time.sleep(0.3)
        victim = self.victim.pid if self.victim else 0
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if token.encode() in process.read_bytes() and int(process.parent.name) != victim:
                    return True
        return False

    def left_behind(self) -> bool:
        found = subprocess.run(
            ["find", tempfile.gettempdir(), "/dev/shm", "-maxdepth", "5", "-name", self.token],
            capture_output=True,
            check=False,
        )
        return bool(found.stdout)
