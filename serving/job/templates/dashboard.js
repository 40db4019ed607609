"use strict";
// Sightings lie in blocks that are read when they are asked for; what looks through all of them does so in
// slices, so that the page answers meanwhile.
const index = JSON.parse(document.getElementById("index").textContent);
const sources = [...document.querySelectorAll("script.block")], read = [];
const form = document.getElementById("filter"), list = document.querySelector(".cards"), said = document.querySelector(".pages output");
const PAGE = 60, SLICE_MS = 12;
const [JOB, CAMERA, PERSON, TRACKLET, START, SECONDS, DAY] = [0, 1, 2, 3, 4, 5, 6];
let rows = null, place = 0, turn = 0;  // rows: pairs of block and row that fit; null: all
const block = number => read[number] ??= JSON.parse(sources[number].textContent);
const size = sources.length ? block(0)[JOB].length : 0;
const clock = new Intl.DateTimeFormat("en-GB", { timeZone: index.zone, dateStyle: "short", timeStyle: "medium" });

function words(row) {
  if (row[DAY] < 0) return `${row[START].toFixed(1)} s of footage, for ${row[SECONDS].toFixed(0)}\u00a0s`;
  return `${index.days[row[DAY]]} ${clock.format(row[START] * 1000).split(", ")[1]}, for ${row[SECONDS].toFixed(0)}\u00a0s`;
}

function card(row) {
  const article = document.createElement("article"), image = document.createElement("img"), facts = document.createElement("div");
  article.className = index.known[row[PERSON]] ? "named" : "unknown";
  const camera = index.cameras[row[CAMERA]], name = index.people[row[PERSON]];
  image.loading = "lazy";
  image.decoding = "async";
  image.alt = `${name} in camera ${camera}`;
  image.addEventListener("error", () => {  // a job without crops
    const blank = document.createElement("div");
    blank.className = "blank";
    image.replaceWith(blank);
  });
  image.src = `${index.folders[row[JOB]]}/crops/${encodeURIComponent(camera)}-${String(row[TRACKLET]).padStart(5, "0")}.jpg`;
  const who = document.createElement("b");
  who.textContent = name;
  facts.append(who, ...[`camera ${camera}`, words(row), index.jobs[row[JOB]]].map(text => {
    const line = document.createElement("span");
    line.textContent = text;
    return line;
  }));
  article.append(image, facts);
  return article;
}

const row = (part, at) => block(part).map(column => column[at]);
const fitting = () => rows ? rows.length / 2 : index.count;
function show() {
  const count = fitting(), last = Math.min(place + PAGE, count), shown = [];
  for (let at = place; at < last; at++) {
    shown.push(card(rows ? row(rows[2 * at], rows[2 * at + 1]) : row(Math.floor(at / size), at % size)));
  }
  list.replaceChildren(...shown);
  said.textContent = count ? `${(place + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${count.toLocaleString("en")}` : "none";
  for (const button of document.querySelectorAll("[data-go]")) {
    button.disabled = +button.dataset.go < 0 ? place === 0 : last >= count;
  }
}

function wanted() {
  const want = new FormData(form), text = want.get("person").trim().toLowerCase();
  const exact = index.people.findIndex(name => name.toLowerCase() === text);
  const people = text && new Set(exact >= 0 ? [exact] : index.people.flatMap((name, at) => name.toLowerCase().includes(text) ? [at] : []));
  const camera = want.get("camera") === "" ? null : +want.get("camera");
  const day = want.get("day") === "" ? null : index.days.indexOf(want.get("day"));
  return people || camera !== null || day !== null ? { people, camera, day } : null;
}

async function apply() {
  const mine = ++turn, want = wanted();
  if (!want) { rows = null; place = 0; show(); return; }
  const fit = [];
  let since = performance.now();
  for (let part = 0; part < sources.length; part++) {
    const [, camera, person, , , , day] = block(part);
    for (let at = 0; at < camera.length; at++) {
      if ((want.camera === null || camera[at] === want.camera) && (want.day === null || day[at] === want.day)
        && (!want.people || want.people.has(person[at]))) fit.push(part, at);
    }
    if (performance.now() - since > SLICE_MS) {
      said.textContent = `looking: ${Math.round(100 * part / sources.length)} %`;
      await new Promise(done => setTimeout(done));
      if (mine !== turn) return;  // something else is asked for by now
      since = performance.now();
    }
  }
  rows = fit;
  place = 0;
  show();
}

form.addEventListener("input", apply);
form.addEventListener("reset", () => setTimeout(apply));
form.addEventListener("submit", event => event.preventDefault());
document.querySelector(".pages").addEventListener("click", event => {
  if (!event.target.dataset.go) return;
  const last = Math.floor((fitting() - 1) / PAGE);  // page
  place = Math.max(0, PAGE * Math.min(last, place / PAGE + +event.target.dataset.go));
  show();
});
document.addEventListener("click", event => {
  const asked = event.target.closest("button.link");
  if (!asked) return;
  form.elements.person.value = index.people[+asked.dataset.person];
  apply();
  form.scrollIntoView();
});
show();
