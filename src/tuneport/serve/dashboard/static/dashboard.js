// Pages are whole without this. With it, parts marked `data-live` are renewed from the page's own address while the page
// is looked at.
"use strict";

(() => {
  const every = Number(document.body.dataset.liveEvery || 0);
  const liveness = document.getElementById("liveness");
  let etag = null, failures = 0, timer = 0;

  const busy = (part) =>
    part.querySelector("details.sure[open]") || (part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea, button, summary, a"));

  // What a reader has opened, chosen or scrolled to stays as it is.
  const keep = (old, fresh) => {
    const opened = [...old.querySelectorAll("details")].map((each) => each.open);
    fresh.querySelectorAll("details").forEach((each, place) => { if (opened[place]) each.open = true; });
    const chosen = new Set([...old.querySelectorAll("input:checked")].map((each) => each.value));
    fresh.querySelectorAll("input[type=checkbox]").forEach((each) => { each.checked = chosen.has(each.value); });
  };

  const renew = (page) => {
    let left = false;
    for (const old of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(old.id);
      if (!fresh || fresh.innerHTML === old.dataset.seen) continue;
      if (busy(old)) { left = true; continue; }
      const seen = fresh.innerHTML;
      const scroller = old.querySelector("ol.events");
      const scrolled = scroller ? scroller.scrollTop : 0;
      keep(old, fresh);
      old.replaceChildren(...document.importNode(fresh, true).childNodes);
      old.dataset.seen = seen;
      const again = old.querySelector("ol.events");
      if (again) again.scrollTop = scrolled;
    }
    return left;
  };

  const look = async () => {
    let pause = every;
    try {
      const answer = await fetch(location.href, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store", redirect: "error" });
      if (answer.status === 200) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const left = renew(page);
        etag = left ? null : answer.headers.get("etag");
        if (!page.body.dataset.liveEvery && !left) pause = 0;
      } else if (answer.status !== 304) throw new Error(String(answer.status));
      failures = 0;
      if (liveness) liveness.textContent = pause ? "live" : "";
    } catch {
      failures += 1;
      pause = Math.min(30000, every * 2 ** failures);
      if (liveness) liveness.textContent = "the gateway does not answer; trying again";
    }
    if (pause) timer = setTimeout(look, document.hidden ? Math.max(pause, 15000) : pause);
  };

  if (every) {
    for (const part of document.querySelectorAll("[data-live]")) part.dataset.seen = part.innerHTML;
    timer = setTimeout(look, every);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) { clearTimeout(timer); look(); } });
  }

  // A file that is dropped on its form is sent at once; so is nothing else.
  for (const form of document.querySelectorAll("form[data-drop]")) {
    const file = form.querySelector("input[type=file]");
    const over = (event) => { event.preventDefault(); form.classList.add("over"); };
    form.addEventListener("dragenter", over);
    form.addEventListener("dragover", over);
    form.addEventListener("dragleave", () => form.classList.remove("over"));
    form.addEventListener("drop", (event) => {
      event.preventDefault();
      form.classList.remove("over");
      if (!event.dataTransfer.files.length) return;
      file.files = event.dataTransfer.files;
      form.requestSubmit();
    });
    form.addEventListener("submit", () => { form.querySelector("button").disabled = true; });
  }

  // Both answers as they are written.
  const chat = document.querySelector("form[data-chat]");
  const listen = async (side, fields) => {
    const said = document.getElementById(side), model = document.getElementById(`${side}-model`);
    said.textContent = ""; model.textContent = "";
    said.classList.remove("fail"); said.classList.add("writing");
    const tell = (line) => {
      const told = JSON.parse(line);
      if (told.model) model.textContent = told.model;
      if (told.text) said.append(told.text);
      if (told.failure) { said.classList.add("fail"); said.append(told.failure); }
    };
    try {
      const answer = await fetch(`/chat/${side}`, { method: "POST", body: fields });
      if (!answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        throw new Error(page.querySelector(".lead")?.textContent || `The gateway answers ${answer.status}.`);
      }
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        lines.forEach(tell);
      }
      if (!said.textContent) said.textContent = "(an empty answer)";
    } catch (error) {
      said.classList.add("fail");
      said.append(error.message);
    }
    said.classList.remove("writing");
  };
  if (chat) chat.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = chat.querySelector("button"), fields = new URLSearchParams(new FormData(chat));
    button.disabled = true;
    await Promise.all([listen("base", fields), listen("tuned", fields)]);
    button.disabled = false;
  });
})();
