"use strict";
// What a mark shows stands in the table behind its chart: row i of the table is mark data-row="i".
const tip = document.getElementById("tip");
const spoken = document.getElementById("spoken");
let lit = [];

function hide() {
  for (const one of lit) one.classList.remove("on");
  lit = [];
  tip.hidden = true;
}

function show(figure, row, near) {
  hide();
  const table = figure.querySelector("table");
  const heads = table.tHead.rows[0].cells, cells = table.tBodies[0].rows[row].cells;
  tip.textContent = "";
  const said = [];
  for (let i = 0; i < cells.length; i++) {
    const value = cells[i].textContent;
    if (value === "–") continue;
    const line = document.createElement("div"), name = document.createElement("b");
    name.textContent = heads[i].textContent + ": ";
    line.append(name, value);
    tip.append(line);
    said.push(heads[i].textContent + " " + value);
  }
  lit = [...figure.querySelectorAll('[data-row="' + row + '"]')];
  for (const one of lit) one.classList.add("on");
  tip.hidden = false;
  const box = near.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.right + 12, innerWidth - own.width - 8));
  const above = box.top - own.height - 10, below = box.bottom + 10;
  tip.style.left = left + "px";
  tip.style.top = Math.max(8, below + own.height < innerHeight ? below : above) + "px";
  return said.join(", ");
}

function nearest(plot, event) {
  const hit = event.target.closest("[data-row]");
  if (hit) return hit;
  let best = null, least = 14;
  for (const one of visible(plot)) {
    const box = one.getBoundingClientRect();
    const away = Math.hypot(box.left + box.width / 2 - event.clientX, box.top + box.height / 2 - event.clientY);
    if (away < least) { best = one; least = away; }
  }
  return best;
}

function visible(plot) {
  return [...plot.querySelectorAll("[data-row]")].filter((one) => one.getClientRects().length);
}

for (const plot of document.querySelectorAll(".plot")) {
  const figure = plot.closest("figure");
  const count = figure.querySelector("table").tBodies[0].rows.length;
  let at = -1;
  plot.addEventListener("pointermove", (event) => {
    const found = nearest(plot, event);
    if (found) show(figure, Number(found.dataset.row), found); else hide();
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 10, PageUp: -10 };
    if (event.key === "Escape") { hide(); return; }
    if (event.key === "Home") at = 0;
    else if (event.key === "End") at = count - 1;
    else if (event.key in steps) at = at < 0 ? 0 : Math.max(0, Math.min(count - 1, at + steps[event.key]));
    else return;
    event.preventDefault();
    const near = visible(plot).find((one) => Number(one.dataset.row) === at) || plot;
    spoken.textContent = show(figure, at, near);
  });
}
