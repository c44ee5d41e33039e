// Sorting and filtering of the ranking; without it the page is complete.
"use strict";
(() => {
  const table = document.getElementById("board");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const find = document.getElementById("find");
  const clean = document.getElementById("clean");
  const count = document.getElementById("count");
  const heads = Array.from(table.tHead.rows[0].cells);

  const key = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.v === undefined) return cell.textContent.trim().toLowerCase();
    return cell.dataset.v === "" ? NaN : Number(cell.dataset.v);
  };
  const order = new Map(rows.map((row, place) => [row, place]));
  const compare = (a, b) => {
    if (typeof a === "string") return a < b ? -1 : a > b ? 1 : 0;
    if (Number.isNaN(a)) return Number.isNaN(b) ? 0 : 1;
    return Number.isNaN(b) ? -1 : a - b;
  };

  heads.forEach((head, column) => {
    const small = head.querySelector("small");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.firstChild.textContent;
    head.firstChild.remove();
    head.insertBefore(button, small);
    button.addEventListener("click", () => {
      // Numbers start with the largest, names and groups with the first.
      const natural = column < 2 || column === heads.length - 1 ? "ascending" : "descending";
      const other = natural === "ascending" ? "descending" : "ascending";
      const direction = head.getAttribute("aria-sort") === natural ? other : natural;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      const keys = new Map(rows.map((row) => [row, key(row, column)]));
      const missing = (row) => Number.isNaN(keys.get(row));
      rows.sort((a, b) => {
        if (missing(a) !== missing(b)) return missing(a) ? 1 : -1;
        return sign * compare(keys.get(a), keys.get(b)) || order.get(a) - order.get(b);
      });
      body.append(...rows);
    });
  });

  const filter = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.cells[1].textContent.toLowerCase();
      const good = words.every((word) => text.includes(word)) && !(clean.checked && row.querySelector(".flag:not(.mild)"));
      row.hidden = !good;
      shown += good;
    }
    count.textContent = `${shown} of ${rows.length} shown`;
  };
  find.addEventListener("input", filter);
  clean.addEventListener("change", filter);
  document.getElementById("tools").hidden = false;
})();
