// Both answers as they are written. Without this the form shows them once both are there.
"use strict";

(() => {
  const chat = document.querySelector("form[data-chat]");
  if (!chat) return;
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
  chat.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = chat.querySelector("button"), fields = new URLSearchParams(new FormData(chat));
    button.disabled = true;
    await Promise.all([listen("base", fields), listen("tuned", fields)]);
    button.disabled = false;
  });
})();
