
// Corrections: kept in order, played from the start after each, given as a file that `reid report` applies.
const done = [], panel = document.getElementById("corrections"), asking = document.getElementById("correcting");
const sightingOf = card => `${card.dataset.camera}:${card.dataset.tracklet}`;
const was = new Map(cards.map(card => [sightingOf(card), card.dataset.person]));
const provisional = name => /^unknown-[1-9]\d*$/.test(name);
let now = new Map(was), asked = null;

function played() {  // who each sighting shows after all corrections; who shows nobody is not in it
  const found = new Map(was);
  for (const one of done) {
    if (one.action === "split") for (const key of one.sightings) found.set(key, one.into);
    else if (one.action === "not_a_person") for (const key of one.sightings) found.delete(key);
    else for (const [key, who] of found) if (who === one.person) found.set(key, one.name || one.into);
  }
  return found;
}
const everybody = () => [...new Set([...was.values(), ...now.values()])].sort();
const of = who => [...now.keys()].filter(key => now.get(key) === who);
const nextStranger = () =>
  `unknown-${1 + Math.max(0, ...everybody().filter(provisional).map(name => +name.split("-")[1]))}`;

function inWords(one) {
  if (one.action === "name") return `${one.person} is called ${one.name}`;
  if (one.action === "merge") return `${one.person} is ${one.into}`;
  if (one.action === "split") return `${one.sightings.join(", ")} of ${one.person} shows ${one.into}`;
  return `${one.sightings.join(", ")} shows nobody`;
}

function mark(element, before, after) {
  const heading = element.querySelector("h3");
  for (const old of heading.querySelectorAll(".now")) old.remove();
  heading.classList.toggle("gone", after === undefined);
  if (after === before) return;
  const change = document.createElement("span");
  change.className = "now";
  change.textContent = after === undefined ? " not a person" : ` now ${after}`;
  heading.append(change);
}

function redraw() {
  now = played();
  for (const card of cards) mark(card, card.dataset.person, now.get(sightingOf(card)));
  for (const block of document.querySelectorAll(".person")) {
    const all = [...was.keys()].filter(key => was.get(key) === block.dataset.person).map(key => now.get(key));
    const left = [...new Set(all.filter(one => one !== undefined))];
    mark(block, block.dataset.person, left.length ? left.join(", ") : undefined);
  }
  panel.hidden = !done.length;
  panel.querySelector("b").textContent = `${done.length} correction${done.length === 1 ? "" : "s"}`;
  panel.querySelector("ol").replaceChildren(...done.map(one => {
    const line = document.createElement("li");
    line.textContent = inWords(one);
    return line;
  }));
}

function ask(element) {
  const card = element.closest("article"), block = element.closest(".person");
  const keys = card ? [sightingOf(card)] : [...was.keys()].filter(key => was.get(key) === block.dataset.person);
  const there = keys.filter(key => now.has(key));
  if (!there.length) return;
  const who = now.get(there[0]);
  // all that is this person now: in a block the person as a whole is corrected, in a card one sighting
  asked = { card: Boolean(card), who, keys: card ? there : of(who) };
  document.getElementById("asked").textContent = card ? `${who}, sighting ${there[0]}` : who;
  document.getElementById("everybody").replaceChildren(...everybody().filter(one => one !== who).map(one => {
    const option = document.createElement("option");
    option.value = one;
    return option;
  }));
  const form = asking.querySelector("form");
  form.reset();
  form.querySelector(".soft").textContent = card ? "This sighting alone is corrected."
    : "A new name is given to all sightings; the name of somebody here makes the two one person.";
  form.querySelector('[value="new"]').hidden = !card;
  asking.returnValue = "";
  asking.showModal();
}

function answer(how, text) {
  const { card, who, keys } = asked, name = text.trim().normalize("NFC");
  if (how === "nobody") done.push({ action: "not_a_person", sightings: keys });
  else if (how === "new") done.push({ action: "split", person: who, sightings: keys, into: nextStranger() });
  else if (how !== "who" || !name || name === who) return;
  else if (card) done.push({ action: "split", person: who, sightings: keys, into: name });
  else if (!everybody().includes(name)) {
    if (!provisional(name)) done.push({ action: "name", person: who, name });
  } else if (of(name).length || !provisional(name)) {
    const turned = provisional(name) && !provisional(who);  // who has a name keeps it
    done.push({ action: "merge", person: turned ? name : who, into: turned ? who : name });
  }
  redraw();
}

document.addEventListener("click", event => {
  if (event.target.matches("button.correct")) ask(event.target);
});
asking.addEventListener("close", () => answer(asking.returnValue, asking.querySelector("input").value));
panel.addEventListener("click", event => {
  if (event.target.dataset.do === "undo") {
    done.pop();
    redraw();
  } else if (event.target.dataset.do === "save") {
    const link = document.createElement("a");
    const text = JSON.stringify({ schema: 1, job: main.dataset.job, corrections: done }, null, 2);
    link.href = URL.createObjectURL(new Blob([text + "\n"], { type: "application/json" }));
    link.download = "corrections.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
});
