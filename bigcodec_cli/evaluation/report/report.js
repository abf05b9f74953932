"use strict";
// Sort the table of files by a column; show the rows of one codec.
const table = document.querySelector("#files table");
if (table) {
  const body = table.tBodies[0];
  const heads = Array.from(table.tHead.rows[0].cells);
  const numeric = new Intl.Collator(undefined, { numeric: true });

  function order(column, sign) {
    return (a, b) => {
      const [x, y] = [a, b].map((row) => row.cells[column].dataset.value);
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      const [p, q] = [Number(x), Number(y)];
      return sign * (isNaN(p) || isNaN(q) ? numeric.compare(x, y) : p - q);
    };
  }

  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      body.append(...Array.from(body.rows).sort(order(column, descending ? -1 : 1)));
    });
  });

  document.querySelector("#files select").addEventListener("change", (event) => {
    for (const row of body.rows) {
      row.hidden = !["", row.dataset.codec].includes(event.target.value);
    }
  });
}

// One player at a time.
document.addEventListener("play", (event) => {
  for (const player of document.querySelectorAll("audio")) {
    if (player !== event.target) player.pause();
  }
}, true);
