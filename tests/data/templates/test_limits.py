"""Chat templates that would never end, or fill the memory: one line, and soon."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest

pytest.importorskip("transformers", reason="models are an extra: pip install 'tuneport[local]'")

from tests.attacks.files import models
from tests.support.folders import CHECKOUT
from tests.support.tiny import CHATML, tiny_tokenizer
from tuneport.data.rows.records import Message
from tuneport.data.templates.chat_template import ChatTemplate
from tuneport.data.templates.limits import MOST_SECONDS, TemplateLimitError

CHAT = [Message(role="user", content="Hi"), Message(role="assistant", content="Hello")]


def template(text: str, *, most_seconds: float = MOST_SECONDS) -> ChatTemplate:
    tokenizer: Any = tiny_tokenizer(text)
    return ChatTemplate(tokenizer, most_seconds=most_seconds)


def test_a_template_that_loops_is_stopped() -> None:
    began = time.process_time()
    with pytest.raises(TemplateLimitError, match="was stopped after 0.3 s"):
        template(models._LOOPS, most_seconds=0.3).render(CHAT)
    assert time.process_time() - began < 10
    assert template(CHATML).render(CHAT).count("Hello") == 1, "and the next is rendered"


def test_a_template_that_loops_is_stopped_in_any_thread() -> None:
    found: list[Exception] = []

    def render() -> None:
        try:
            template(models._LOOPS, most_seconds=0.3).render(CHAT)
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=render) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [type(error) for error in found] == [TemplateLimitError] * 2


def test_powers_are_refused_and_stars_in_texts_are_not() -> None:
    with pytest.raises(TemplateLimitError, match=r"computes powers \(\*\*\)"):
        template("{{ 9 ** 9 ** 9 }}")
    kept = "{{ dict(**{'a': 1}).a }} **bold** {{ '**' }}{% for m in messages %}{{ m.content }}{% endfor %}"
    assert "**bold** **HiHello" in template(kept).render(CHAT)


def test_a_text_that_is_far_longer_than_its_conversation_is_refused() -> None:
    with pytest.raises(TemplateLimitError, match="50,000,000 characters"):
        template("{% for a in range(50) %}{{ 'x' * 1000000 }}{% endfor %}").render(CHAT)
    long = [Message(role="user", content="x" * (5 << 20)), *CHAT[1:]]
    assert len(template(CHATML).render(long)) > 5 << 20


_TEXT = "{% set n = 300000 %}{% set x = 'a' * n %}{% set half = 'a' * (n // 2) %}"
_GROWS = "{% set ns = namespace(i=7) %}{% for a in range(24) %}{% set ns.i = ns.i * ns.i %}{% endfor %}{{ ns.i % 5 }}"
IN_ONE_CALL = {
    "rfind": _TEXT + "{{ x.rfind('ab' ~ half) }}",
    "rindex": _TEXT + "{{ x.rindex('ab' ~ half) }}",
    "rsplit": _TEXT + "{{ x.rsplit(sep='ab' ~ half) | length }}",
    "rpartition": _TEXT + "{{ x.rpartition('ab' ~ half) | length }}",
    "a name made up": _TEXT + "{{ x['rfi' ~ 'nd']('ab' ~ half) }}{{ (x | attr('rfi' ~ 'nd'))('ab' ~ half) }}",
    "bytes": _TEXT + "{{ x.encode().rfind(('ab' ~ half).encode()) }}",
    "markup": _TEXT + "{{ (x | escape).rfind('ab' ~ half) }}",
    "strip": _TEXT + "{{ x.strip('b' * n ~ 'a') }}",
    "trim": _TEXT + "{{ x | trim('b' * n ~ 'a') }}{{ [x] | map('trim', 'b' * n ~ 'a') | list }}",
    "products": _GROWS,
    "remainders": "{% set i = ('f' * 2000000) | int(0, 16) %}{{ i % (('7' * 1000000) | int(0, 16)) }}",
    "quotients": "{% set i = ('f' * 2000000) | int(0, 16) %}{{ i // (('7' * 1000000) | int(0, 16)) % 7 }}",
}


@pytest.mark.parametrize("name", IN_ONE_CALL)
def test_a_call_that_nothing_could_stop_is_refused_before_it_begins(name: str) -> None:
    """With n a hundred times as long each would take hours, within one call of C."""
    began = time.process_time()
    with pytest.raises(TemplateLimitError, match="so long that it would not end|tens of thousands of digits"):
        template(IN_ONE_CALL[name]).render(CHAT)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("text", ["{{ 'x' * 2000000000 }}", "{{ (1500000000 * ['x']) | length }}"])
def test_a_product_that_is_too_large_is_refused_in_any_process(text: str) -> None:
    with pytest.raises(TemplateLimitError, match="wants more than 1 GiB of memory"):
        template(text).render(CHAT)


def test_the_same_calls_on_what_chats_hold_are_made() -> None:
    text = (
        "{% for m in messages %}{{ m.content.rsplit('</think>', 1)[-1].strip() | trim('.!') }}"
        "{{ m.content.rfind('l') }}{{ m.content.rpartition('e')[2] }}{{ 7 * 6 // 5 % 3 }}{{ '%s-' % 5 }}{{ '=' * 3 }}"
        "{% endfor %}"
    )
    assert template(text).render(CHAT) == "Hi-1Hi25-===Hello3llo25-==="
    long = [Message(role="user", content=" x" * (4 << 20)), *CHAT[1:]]
    assert template(text).render(long).endswith("Hello3llo25-===")


def test_the_linear_calls_are_linear() -> None:
    """CPython's promise, on which their not being bounded rests: four times the length, not sixteen times the time."""

    def seconds(length: int) -> float:
        x, half = "a" * length, "a" * (length // 2)
        needles = ("ab" + half, half + "b", half + "b" + half[:-2])
        began = time.process_time()
        for needle in needles:
            x.find(needle), x.count(needle), x.split(needle), x.replace(needle, ""), x.partition(needle), needle in x
        return time.process_time() - began

    assert seconds(2_000_000) < 2, "a quadratic one would take minutes"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the memory")
@pytest.mark.parametrize("text", ["{{ 'x' * 2000000000 }}", models._DOUBLING])
def test_a_template_that_wants_gigabytes_is_refused(text: str) -> None:
    """In a process of its own, since the bound is for the whole of it."""
    code = (
        "import resource; from tuneport.data.templates.limits import bound_template_memory; bound_template_memory()\n"
        "from tests.data.templates.test_limits import CHAT, TemplateLimitError, template\n"
        "before = resource.getrlimit(resource.RLIMIT_AS)\n"
        f"try: template({text!r}).render(CHAT)\n"
        "except TemplateLimitError as error: print(error)\n"
        # Not of getrusage, which remembers the process that this one was forked from.
        "status = open('/proc/self/status').read()\n"
        "peak = int(status.partition('VmHWM:')[2].split()[0]) >> 20\n"
        "print(before == resource.getrlimit(resource.RLIMIT_AS), peak)"
    )
    command, root = [sys.executable, "-c", code], CHECKOUT
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=root)
    assert "wants more than 1 GiB of memory" in done.stdout, done.stderr
    assert done.stdout.split()[-2] == "True", "and the bound is away again"
    assert int(done.stdout.split()[-1]) < 2, "GiB at the peak"
