// Pages are whole without this. With it, a page that may change listens to its own address: the gateway sends the parts
// that have become others, each once (dashboard/live.py). While nobody looks at the page it does not listen.
"use strict";

(() => {
  const STREAMS = 4; // of one browser; it opens no more than six connections to a host
  const FIRST_PAUSE = 1000, LONGEST_PAUSE = 30000, SLOW_PAUSE = 15000, MOST_EVENTS = 1000;
  const page = document.body, gone = document.getElementById("gone"), liveness = document.getElementById("liveness");
  if (page.dataset.live === undefined) return;
  let mark = page.dataset.live, source = null, release = null, timer = 0, failures = 0, etag = null, over = false, heard = new Date();
  const left = new Map(); // what came while its part was in use
  const seen = new Map([...document.querySelectorAll("[data-live][id]")].map((each) => [each.id, each.innerHTML]));

  const parsed = (html) => {
    const made = document.createElement("template");
    made.innerHTML = html;
    return made;
  };
  const focused = (part) => (part !== document.activeElement && part.contains(document.activeElement) ? document.activeElement : null);
  const typing = "select, textarea, input:not([type=checkbox], [type=radio])";
  const busy = (part) => part.querySelector("details.sure[open]") || focused(part)?.matches(typing);
  const named = (each) => [each.tagName, each.name, each.value, each.href, each.textContent].join(" ");

  // What a reader has opened, chosen or scrolled to stays as it is.
  const keep = (old, fresh) => {
    const opened = [...old.querySelectorAll("details")].map((each) => each.open);
    fresh.querySelectorAll("details").forEach((each, place) => { if (opened[place]) each.open = true; });
    const chosen = new Set([...old.querySelectorAll("input:checked")].map((each) => each.value));
    fresh.querySelectorAll("input[type=checkbox]").forEach((each) => { each.checked = chosen.has(each.value); });
  };

  const renew = (id, html) => {
    const old = document.getElementById(id), made = parsed(html);
    left.delete(id);
    if (!old || made.innerHTML === seen.get(id)) return;
    if (busy(old)) { left.set(id, html); return; }
    seen.set(id, made.innerHTML);
    const scrolled = old.querySelector("ol.events")?.scrollTop || 0, focus = focused(old);
    keep(old, made.content);
    old.replaceChildren(made.content);
    if (focus) [...old.querySelectorAll(focus.tagName)].find((each) => named(each) === named(focus))?.focus({ preventScroll: true });
    if (scrolled) old.querySelector("ol.events").scrollTop = scrolled;
  };

  // Newest first, each once; of very many the oldest are left to the link to earlier ones.
  const append = (events) => {
    const list = document.querySelector("ol.events");
    for (const [position, html] of events) {
      if (!list || Number(list.firstElementChild?.dataset.position || 0) >= position) continue;
      const scrolled = list.scrollTop;
      list.prepend(parsed(html).content);
      if (scrolled) list.scrollTop = scrolled + list.firstElementChild.offsetHeight;
    }
    while (list && list.children.length > MOST_EVENTS) {
      list.lastElementChild.remove();
      const earlier = document.querySelector("a[data-earlier]");
      if (earlier) earlier.search = `?before=${list.lastElementChild.dataset.position}`;
    }
  };

  const tell = (state, words) => {
    if (liveness.dataset.state !== state) { liveness.dataset.state = state; liveness.textContent = state; }
    gone.hidden = !words;
    if (words && gone.textContent !== words) gone.textContent = words;
  };
  const loggedOut = () => {
    stop(); over = true;
    tell("", "You are logged out, and this page changes no more. ");
    const way = document.createElement("a");
    way.href = `/login?next=${encodeURIComponent(location.pathname)}`;
    way.textContent = "Log in again";
    gone.append(way);
  };

  const stop = () => {
    clearTimeout(timer);
    source?.close(); source = null;
    release?.(); release = null;
  };
  const later = (pause) => { clearTimeout(timer); timer = setTimeout(listen, pause); };
  const failed = () => {
    failures += 1;
    if (failures > 1) tell("offline", `The gateway does not answer. What you see is of ${heard.toLocaleTimeString()}; this page goes on trying.`);
    later(Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1)) * (0.75 + Math.random() / 2));
  };
  const answered = (state) => { failures = 0; heard = new Date(); tell(state, ""); };

  // One of a few places that this browser's tabs share; null where all are taken.
  const place = async () => {
    if (!navigator.locks) return () => {};
    for (let number = 0; number < STREAMS; number += 1) {
      const found = await new Promise((resolve) => {
        navigator.locks.request(`tuneport-live-${number}`, { ifAvailable: true },
          (lock) => lock && new Promise((free) => { resolve(free); })).then(() => resolve(null), () => resolve(null));
      });
      if (found) return found;
    }
    return null;
  };

  // Where no stream can be had, the page is asked for again; and where one was refused, to see why.
  const look = async () => {
    const answer = await fetch(location.href, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store", redirect: "manual" });
    if (answer.type === "opaqueredirect" || answer.status === 401) { loggedOut(); return; }
    if (answer.status === 200) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of fresh.querySelectorAll("[data-live][id]")) renew(part.id, part.innerHTML);
      etag = left.size ? null : answer.headers.get("etag");
      over = fresh.body.dataset.live === undefined;
    } else if (answer.status !== 304) throw new Error(String(answer.status));
    answered(over ? "" : "every 15 s");
    if (!over) later(SLOW_PAUSE);
  };

  const listen = async () => {
    stop();
    if (document.hidden || over) return;
    const found = await place();
    if (document.hidden || over || source) { found?.(); return; }
    if (!found) { look().catch(failed); return; }
    release = found;
    const address = new URL(location.href);
    address.searchParams.set("live", mark);
    const stream = source = new EventSource(address);
    stream.onopen = () => answered("live");
    stream.addEventListener("news", (event) => {
      const { parts, events } = JSON.parse(event.data);
      mark = event.lastEventId; heard = new Date();
      for (const [id, html] of [...left, ...Object.entries(parts)]) renew(id, html);
      append(events);
    });
    stream.addEventListener("end", () => { stop(); over = true; tell("", ""); });
    stream.addEventListener("gone", loggedOut);
    stream.onerror = () => {
      const refused = stream.readyState === EventSource.CLOSED;
      stop();
      if (refused) look().catch(failed); else failed();
    };
  };

  document.addEventListener("visibilitychange", () => { if (document.hidden) stop(); else listen(); });
  document.addEventListener("focusout", () => setTimeout(() => { for (const [id, html] of [...left]) renew(id, html); }));
  addEventListener("pagehide", stop);
  addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
  listen();
})();
