"use strict";
const main = document.querySelector("main");
const form = document.getElementById("filter"), cards = [...document.querySelectorAll("article")], bars = [...document.querySelectorAll(".lane a")];
const seconds = text => {
  const parts = text.trim().split(":").map(Number);
  return text.trim() === "" || parts.some(Number.isNaN) ? null : parts.reduce((sum, part) => sum * 60 + part, 0);
};
const dayStart = main.dataset.dayStart === "" ? null : +main.dataset.dayStart;
const moment = text => { const s = seconds(text); return s === null ? null : dayStart === null ? s : s - dayStart; };
function apply() {
  const want = new FormData(form), from = moment(want.get("from")), to = moment(want.get("to"));
  const fits = d => (!want.get("person") || d.person === want.get("person")) && (!want.get("camera") || d.camera === want.get("camera"))
    && (from === null || +d.end >= from) && (to === null || +d.start <= to);
  let shown = 0;
  for (const card of cards) { card.hidden = !fits(card.dataset); shown += !card.hidden; }
  for (const bar of bars) bar.hidden = !fits(bar.dataset);
  for (const row of document.querySelectorAll(".row[data-lane]")) row.hidden = ![...row.querySelectorAll("a")].some(bar => !bar.hidden);
  const there = new Set(cards.filter(card => !card.hidden).map(card => card.dataset.person));
  for (const block of document.querySelectorAll(".person")) block.hidden = !there.has(block.dataset.person);
  const key = want.get("order");
  cards.sort((a, b) => a.dataset[key] - b.dataset[key]);
  document.querySelector(".cards").append(...cards);
  form.querySelector("output").textContent = shown + " of " + cards.length + " shown";
}
form.addEventListener("input", apply);
form.addEventListener("reset", () => setTimeout(apply));
form.addEventListener("submit", event => event.preventDefault());
const dialog = document.getElementById("footage"), video = dialog.querySelector("video");
document.addEventListener("click", event => {
  const link = event.target.closest("a.watch");
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  video.src = link.href;
  dialog.showModal();
  video.play().catch(() => {});
});
dialog.addEventListener("close", () => { video.pause(); video.removeAttribute("src"); });
apply();
