// A file that is dropped on its form is sent at once, and shows how far it is. Without this the form is sent as any other.
"use strict";

(() => {
  const megabytes = (bytes) => (bytes / 1e6).toLocaleString("en", { maximumFractionDigits: bytes < 1e7 ? 1 : 0 });
  const seconds = (count) => (count < 90 ? `${Math.ceil(count)} s` : `${Math.ceil(count / 60)} min`);

  const send = (form) => {
    const button = form.querySelector("button[type=submit]"), shown = form.querySelector(".sending");
    const bar = shown.querySelector("progress"), told = shown.querySelector("output"), stop = shown.querySelector("button");
    const request = new XMLHttpRequest(), began = performance.now();
    const end = (words) => {
      shown.classList.toggle("fail", Boolean(words));
      told.textContent = words;
      bar.hidden = stop.hidden = true;
      button.disabled = false;
    };
    request.upload.onprogress = ({ loaded, total }) => {
      const rate = loaded / Math.max(1, performance.now() - began) * 1000;
      bar.max = total; bar.value = loaded;
      told.textContent = loaded < total
        ? `${megabytes(loaded)} of ${megabytes(total)} MB, ${megabytes(rate)} MB/s, ${seconds((total - loaded) / rate)} left`
        : `${megabytes(total)} MB are there; the gateway writes them down …`;
    };
    request.onload = () => {
      if (request.status < 300) { location.assign(request.responseURL); return; }
      const page = new DOMParser().parseFromString(request.responseText, "text/html");
      if (request.status === 401) end("You are logged out: load this page again, and log in.");
      else end(page.querySelector(".lead")?.textContent || `The gateway answers ${request.status}.`);
    };
    request.onerror = () => end("The gateway does not answer, or has closed the connection. Nothing was kept; send it again.");
    request.onabort = () => end("Stopped; nothing was kept.");
    stop.onclick = () => request.abort();
    button.disabled = true;
    shown.hidden = bar.hidden = stop.hidden = false;
    shown.classList.remove("fail");
    told.textContent = "";
    const size = form.querySelector("input[type=file]").files[0]?.size || 0;
    if (size > Number(form.dataset.most)) {
      end(`The file has ${megabytes(size)} MB; at most ${megabytes(form.dataset.most)} MB are taken.`);
      return;
    }
    request.open("POST", form.action);
    request.send(new FormData(form));
  };

  for (const form of document.querySelectorAll("form[data-drop]")) {
    const file = form.querySelector("input[type=file]");
    const over = (event) => { event.preventDefault(); form.classList.add("over"); };
    form.addEventListener("dragenter", over);
    form.addEventListener("dragover", over);
    form.addEventListener("dragleave", () => form.classList.remove("over"));
    form.addEventListener("drop", (event) => {
      event.preventDefault();
      form.classList.remove("over");
      if (!event.dataTransfer.files.length || form.querySelector("button[type=submit]").disabled) return;
      file.files = event.dataTransfer.files;
      form.requestSubmit();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!form.querySelector("button[type=submit]").disabled) send(form);
    });
  }
})();
