"use strict";
(() => {
  const table = document.getElementById("units"), body = table.tBodies[0], rows = [...body.rows];
  const key = (row, at) => row.cells[at].dataset.v ?? row.cells[at].textContent.trim();
  [...table.tHead.rows[0].cells].forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sign = down ? -1 : 1;
      rows.sort((one, two) => {
        const a = key(one, at), b = key(two, at);
        return sign * (a - b || (isNaN(a - b) ? a.localeCompare(b) : 0));
      });
      body.append(...rows);
    });
  });
  const input = document.getElementById("filter"), left = document.getElementById("left");
  input.parentElement.hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    left.textContent = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length}` : "";
  });
})();
