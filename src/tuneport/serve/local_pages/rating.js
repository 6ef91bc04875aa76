// One pair after the other, by keyboard. Texts go in as text, never as HTML; what is judged is kept by the server.
"use strict";

(() => {
  const part = (id) => document.getElementById(id);
  const BLIND_MILLISECONDS = 300;  // a key that comes sooner was meant for the pair before
  const MOST_CELLS = 4_000_000;    // of the table that finds the differences
  const ALIKE = 0.35;              // with fewer words in common, marks would cover everything
  let rater = "", shown = null, busy = false, since = 0, seen = 0, marking = true;

  // --- what is shown ------------------------------------------------------------------------------------------------

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  // The text from start to end, with a mark around what lies in the spans.
  const marked = (into, text, start, end, spans) => {
    let at = start;
    for (const [from, to] of spans) {
      if (to <= start || from >= end) continue;
      const begin = Math.max(from, start), stop = Math.min(to, end);
      into.append(text.slice(at, begin));
      into.append(element("mark", "", text.slice(begin, stop)));
      at = stop;
    }
    into.append(text.slice(at, end));
  };

  // Paragraphs, each in its own direction of writing, and blocks of code.
  const write = (into, text, spans = []) => {
    into.replaceChildren();
    if (!text.trim()) {
      into.append(element("p", "empty-answer", "(an empty answer)"));
      return;
    }
    const prose = (start, end) => {
      for (const found of text.slice(start, end).matchAll(/[^\n](?:[^\n]|\n(?!\s*\n))*/g)) {
        if (!found[0].trim()) continue;
        const paragraph = element("p");
        paragraph.dir = "auto";
        marked(paragraph, text, start + found.index, start + found.index + found[0].length, spans);
        into.append(paragraph);
      }
    };
    let at = 0;
    for (const found of text.matchAll(/^ {0,3}```[^\n`]*\n([\s\S]*?)(?:^ {0,3}```[ \t]*$|$(?![\s\S]))/gm)) {
      prose(at, found.index);
      const code = element("pre"), start = found.index + found[0].indexOf("\n") + 1;
      marked(code, text, start, start + found[1].replace(/\n$/, "").length, spans);
      into.append(code);
      at = found.index + found[0].length;
    }
    prose(at, text.length);
  };

  const words = (text) => [...text.matchAll(/[\p{L}\p{M}\p{N}_]+|[^\s\p{L}\p{M}\p{N}_]/gu)].map(
    (found) => ({ word: found[0], from: found.index, to: found.index + found[0].length }));

  // Of each text the spans of words that the other lacks (the longest common subsequence); null where that says nothing.
  const differences = (one, other) => {
    const left = words(one), right = words(other);
    let start = 0, leftEnd = left.length, rightEnd = right.length;
    while (start < leftEnd && start < rightEnd && left[start].word === right[start].word) start += 1;
    while (leftEnd > start && rightEnd > start && left[leftEnd - 1].word === right[rightEnd - 1].word) { leftEnd -= 1; rightEnd -= 1; }
    const height = leftEnd - start, width = rightEnd - start;
    if ((height + 1) * (width + 1) > MOST_CELLS) return null;
    const table = new Uint16Array((height + 1) * (width + 1));
    const cell = (row, column) => row * (width + 1) + column;
    for (let row = height - 1; row >= 0; row -= 1)
      for (let column = width - 1; column >= 0; column -= 1)
        table[cell(row, column)] = left[start + row].word === right[start + column].word
          ? table[cell(row + 1, column + 1)] + 1
          : Math.max(table[cell(row + 1, column)], table[cell(row, column + 1)]);
    const common = start + (left.length - leftEnd) + table[0];
    if (2 * common < ALIKE * (left.length + right.length)) return null;
    const onlyLeft = [], onlyRight = [];
    for (let row = 0, column = 0; row < height || column < width;) {
      if (row < height && column < width && left[start + row].word === right[start + column].word) { row += 1; column += 1; }
      else if (column === width || (row < height && table[cell(row + 1, column)] >= table[cell(row, column + 1)])) { onlyLeft.push(left[start + row]); row += 1; }
      else { onlyRight.push(right[start + column]); column += 1; }
    }
    return [joined(one, onlyLeft), joined(other, onlyRight)];
  };

  // Neighbours, with nothing but space between them, as one span.
  const joined = (text, found) => {
    const spans = [];
    for (const { from, to } of found) {
      const last = spans.at(-1);
      if (last && !text.slice(last[1], from).trim()) last[1] = to;
      else spans.push([from, to]);
    }
    return spans;
  };

  const turn = ({ role, text }, asked) => {
    const made = element("div", asked ? "turn-of asked" : "turn-of");
    if (role !== "user" || !asked) made.append(element("div", "role", role));
    const said = element("div", "said");
    write(said, text);
    if (text.length > 1500) {
      said.className = "said long";
      said.tabIndex = 0;
      said.setAttribute("role", "region");
      said.setAttribute("aria-label", `${role}, a long text`);
    }
    made.append(said);
    return made;
  };

  const prompt = (turns) => {
    const into = part("prompt"), before = turns.slice(0, -1);
    into.replaceChildren();
    if (before.length) {
      const earlier = element("details");
      earlier.id = "earlier";
      const told = before.length === 1 ? `Before it: ${before[0].role} ` : `${before.length} messages before it `;
      const summary = element("summary", "", told);
      summary.append(element("kbd", "", "p"));
      earlier.append(summary);
      before.forEach((each) => earlier.append(turn(each, false)));
      into.append(earlier);
    }
    into.append(turn(turns.at(-1), true));
  };

  const show = (standing) => {
    rater = standing.rater;
    shown = standing.next;
    part("who").hidden = true;
    part("standing").hidden = part("bar").hidden = false;
    part("progress").max = standing.total;
    part("progress").value = standing.judged;
    part("count").textContent = `${standing.judged} of ${standing.total}`;
    part("rater").textContent = rater;
    part("pair").hidden = shown === null;
    part("done").hidden = shown !== null;
    for (const id of ["choose-left", "choose-tie", "choose-bad", "choose-right", "write-note"]) part(id).disabled = shown === null;
    if (shown === null) {
      part("noting").hidden = true;
      part("done-text").textContent = `${standing.total} pairs judged by ${rater}.`;
      part("differences").disabled = true;
    } else {
      prompt(shown.prompt);
      const spans = differences(shown.left, shown.right);
      write(part("left"), shown.left, spans ? spans[0] : []);
      write(part("right"), shown.right, spans ? spans[1] : []);
      part("differences").disabled = spans === null;
      part("reference").hidden = shown.reference === null;
      part("reference").open = false;
      write(part("reference-text"), shown.reference || "");
      part("note").value = shown.note;
      part("noting").hidden = !shown.note;
      for (const choice of ["left", "tie", "bad", "right"]) part(`choose-${choice}`).classList.toggle("was", choice === shown.choice);
    }
    window.scrollTo(0, 0);
    part("main").focus({ preventScroll: true });
    seen = 0;
    since = performance.now();
  };

  // --- what is said -------------------------------------------------------------------------------------------------

  const post = async (path, body) => {
    const token = document.querySelector("meta[name=csrf-token]");
    const send = () => fetch(`/rating/${path}`, { method: "POST", body: JSON.stringify(body),
      headers: { "Content-Type": "application/json", "X-CSRF-Token": token.content } });
    let answer;
    try {
      answer = await send();
      if (answer.status === 403) {  // tuneport rate was started again meanwhile, and its page has another token
        const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
        token.content = page.querySelector("meta[name=csrf-token]").content;
        answer = await send();
      }
    } catch {
      throw new Error("Not kept: tuneport rate does not answer. Start it again, then press the key again.");
    }
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error.message);
    return told;
  };

  // `told`: what to say when it is done, or what makes that of where the rater stands.
  const doing = async (work, told) => {
    if (busy) return;
    busy = true;
    try {
      const standing = await work();
      part("trouble").textContent = "";
      part("told").textContent = typeof told === "string" ? told : told(standing);
      show(standing);
    } catch (error) {
      part("told").textContent = "";
      part("trouble").textContent = error.message;
    } finally {
      busy = false;
    }
  };

  const WORDS = { left: "left is better", right: "right is better", tie: "a tie", bad: "both bad" };

  const judge = (choice) => {
    if (!shown) return;
    const watched = seen + (document.hidden ? 0 : performance.now() - since);
    if (performance.now() - since < BLIND_MILLISECONDS) {
      part("told").textContent = "That was quick: this is the next pair already.";
      return;
    }
    const body = { rater, view: shown.view, choice, note: part("note").value, seconds: watched / 1000 };
    doing(() => post("judge", body), `Kept: ${WORDS[choice]}. u takes it back.`);
  };

  const undo = () => doing(() => post("undo", { rater }), "Taken back: judge this pair again.");

  const note = () => {
    if (!shown) return;
    part("noting").hidden = false;
    part("note").focus();
  };

  const toggleMarks = () => {
    marking = !marking;
    part("differences").setAttribute("aria-pressed", String(marking));
    part("pair").classList.toggle("unmarked", !marking);
  };

  const toggleEarlier = () => {
    const earlier = part("earlier");
    if (earlier) earlier.open = !earlier.open;
  };

  const toggleReference = () => {
    const reference = part("reference");
    if (reference.hidden) return;
    reference.open = !reference.open;
    if (reference.open) reference.scrollIntoView({ block: "center" });
  };

  // --- keys ---------------------------------------------------------------------------------------------------------

  const keys = {
    1: () => judge("left"), ArrowLeft: () => judge("left"), 2: () => judge("right"), ArrowRight: () => judge("right"),
    0: () => judge("tie"), t: () => judge("tie"), 3: () => judge("bad"), b: () => judge("bad"),
    u: undo, n: note, d: toggleMarks, r: toggleReference, p: toggleEarlier };

  document.addEventListener("keydown", (event) => {
    if (part("bar").hidden || event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    if (event.target === part("note")) {
      if (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey)) {
        event.preventDefault();
        part("noting").hidden = !part("note").value.trim();
        part("main").focus({ preventScroll: true });
      }
      return;
    }
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  for (const choice of ["left", "tie", "bad", "right"]) part(`choose-${choice}`).addEventListener("click", () => judge(choice));
  part("undo").addEventListener("click", undo);
  part("write-note").addEventListener("click", note);
  part("differences").addEventListener("click", toggleMarks);

  // Time that the page was not looked at is no time that a judgement took.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) seen += performance.now() - since;
    else since = performance.now();
  });

  part("who").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = part("name").value;
    sessionStorage.setItem("rater", name);
    doing(() => post("begin", { rater: name }), ({ rater, judged }) =>
      judged ? `Welcome back, ${rater}: ${judged} judged so far. (Are you somebody else? Load the page again and take another name.)` : "");
  });
  part("name").value = sessionStorage.getItem("rater") || "";
  part("name").select();
})();
