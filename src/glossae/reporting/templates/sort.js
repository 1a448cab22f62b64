// A click on a column's title sorts the table by it; without this the page reads the same.
for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0];
  if (body.rows.length < 3) continue;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down < 0 ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
      const by = (a, b) => (isNaN(a) || isNaN(b) ? String(a).localeCompare(b) : a - b);
      body.append(...[...body.rows].sort((a, b) => down * by(key(a), key(b))));
    });
  });
}
