"use strict";
// A click on a header sorts its column, numbers by size and words by letters; a second click turns the order round.
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => header.firstElementChild.addEventListener("click", () => {
    const turn = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const key = (row) => row.cells[column].dataset.key;
    const number = (text) => (text === "inf" ? Infinity : Number(text));
    const numeric = header.classList.contains("number");
    const order = (a, b) => (numeric ? number(a) - number(b) || 0 : a.localeCompare(b));
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => (key(a) === "") - (key(b) === "") || turn * order(key(a), key(b)));
    table.tBodies[0].append(...rows);
    headers.forEach((other) => other.setAttribute("aria-sort", "none"));
    header.setAttribute("aria-sort", turn === 1 ? "ascending" : "descending");
  }));
}
