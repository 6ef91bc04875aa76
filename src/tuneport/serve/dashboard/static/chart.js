// What a line is where the pointer is. Without this the legend tells the last value and the lowest.
"use strict";

(() => {
  const points = (path) => path.getAttribute("d").slice(1).split(" L").map((pair) => pair.split(" ").map(Number));
  const told = (value) => (Math.abs(value) >= 0.001 ? Number(value.toPrecision(3)).toString() : value.toExponential(1));

  const read = (svg, share) => {
    const [[first, last], [low, high]] = [svg.dataset.x, svg.dataset.y].map((ends) => ends.split(" ").map(Number));
    const [, , width, height] = svg.querySelector("svg").getAttribute("viewBox").split(" ").map(Number);
    const found = [...svg.querySelectorAll("path.line")].map((path) => {
      const away = ([x]) => Math.abs(x - share * width);
      const [x, y] = points(path).reduce((best, each) => (away(each) < away(best) ? each : best));
      return { name: path.textContent, value: low + (1 - y / height) * (high - low), x };
    }).filter(({ x }) => Math.abs(x - share * width) < width / 12);
    if (!found.length) return "";
    const step = Math.round(first + share * (last - first)).toLocaleString("en");
    return `at step ${step}: ${found.map(({ name, value }) => `${name} ${told(value)}`).join(", ")}`;
  };

  document.addEventListener("pointermove", (event) => {
    const svg = event.target.closest?.("svg.lines[data-x]") || event.target.closest?.(".chart")?.querySelector("svg.lines[data-x]");
    for (const other of document.querySelectorAll(".readout")) {
      if (!svg || other !== svg.parentElement.querySelector(".readout")) other.textContent = "";
    }
    if (!svg) return;
    const { left, width } = svg.getBoundingClientRect();
    const share = (event.clientX - left) / width;
    svg.parentElement.querySelector(".readout").textContent = share >= 0 && share <= 1 ? read(svg, share) : "";
  });
})();
