
// The timeline shows the stretch `view` of `whole`; bars follow two numbers of its style.
const timeline = document.querySelector(".timeline"), tools = document.querySelector(".tools");
const whole = [+timeline.dataset.begin, +timeline.dataset.end], extent = whole[1] - whole[0];
const least = Math.min(extent, Math.max(1, extent / 10000));  // less, and bars are wider than a browser can place
let view = whole;
const between = (value, low, high) => Math.min(Math.max(value, low), high);
const middleOf = bar => (+bar.dataset.start + +bar.dataset.end) / 2;

function words(seconds, fine) {  // as the page's other times, with tenths where `fine`
  const clock = dayStart !== null, tenths = fine || !clock, unit = tenths ? 10 : 1;
  const s = Math.floor((clock ? (seconds + dayStart) % 86400 : seconds) * unit + 1e-6) / unit;
  const two = number => String(number).padStart(2, "0");
  const h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
  const rest = tenths ? (s % 60).toFixed(1).padStart(4, "0") : two(s % 60);
  return clock ? `${two(h)}:${two(m)}:${rest}` : h ? `${h}:${two(m)}:${rest}` : `${m}:${rest}`;
}

function show(from, to) {
  const width = between(to - from, least, extent);
  from = between((from + to - width) / 2, whole[0], whole[1] - width);
  view = [from, from + width];
  timeline.style.setProperty("--from", view[0]);
  timeline.style.setProperty("--to", view[1]);
  const marks = [...timeline.querySelectorAll(".axis span")], fine = width < 20;
  marks.forEach((mark, i) => { mark.textContent = words(from + width * i / (marks.length - 1), fine); });
  const idle = { in: width <= least, out: width >= extent, whole: width >= extent,
    earlier: view[0] <= whole[0], later: view[1] >= whole[1] };
  for (const button of tools.querySelectorAll("button")) button.disabled = idle[button.dataset.view];
  tools.querySelector("output").textContent =
    width >= extent ? "" : `${words(view[0], fine)} to ${words(view[1], fine)}`;
}

const around = (at, factor) => {
  const half = (view[1] - view[0]) * factor / 2;
  show(at - half, at + half);
};
const spans = () => bars.filter(bar => !bar.hidden).map(bar => [+bar.dataset.start, +bar.dataset.end]);

function nearest() {  // zooming goes to a sighting, not into the empty time between two
  const focused = document.activeElement.closest(".lane a"), middle = (view[0] + view[1]) / 2;
  if (focused) return middleOf(focused);
  const there = spans().filter(([a, b]) => b >= view[0] && a <= view[1]).map(([a, b]) => between(middle, a, b));
  return there.reduce((best, at) => Math.abs(at - middle) < Math.abs(best - middle) ? at : best,
    there.length ? there[0] : middle);
}

function move(sign) {  // by three quarters of the stretch, and on to the next sighting where nobody is
  const width = view[1] - view[0], [from, to] = view.map(end => end + sign * width * .75), there = spans();
  const next = sign > 0 ? Math.min(...there.map(([a]) => a).filter(a => a > to))
    : Math.max(...there.map(([, b]) => b).filter(b => b < from));
  if (there.some(([a, b]) => b >= from && a <= to) || !Number.isFinite(next)) show(from, to);
  else show(next - width / 2, next + width / 2);
}

const views = { in: () => around(nearest(), 1 / 4), out: () => around((view[0] + view[1]) / 2, 4),
  earlier: () => move(-1), later: () => move(1), whole: () => show(...whole) };
const keys = { "+": "in", "=": "in", "-": "out", ArrowLeft: "earlier", ArrowRight: "later", 0: "whole" };
tools.addEventListener("click", event => {
  if (event.target.dataset.view) views[event.target.dataset.view]();
});
timeline.addEventListener("keydown", event => {
  if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  views[keys[event.key]]();
});
timeline.addEventListener("focusin", event => {  // a bar outside the stretch comes into it
  const bar = event.target.closest(".lane a");
  if (bar && (+bar.dataset.end < view[0] || +bar.dataset.start > view[1])) around(middleOf(bar), 1);
});

const momentAt = (lane, x) => {
  const box = lane.getBoundingClientRect();
  return view[0] + (view[1] - view[0]) * between((x - box.left) / box.width, 0, 1);
};
timeline.addEventListener("wheel", event => {
  const lane = event.target.closest(".lane"), zooms = event.ctrlKey || event.metaKey;
  const aside = event.shiftKey ? event.deltaX || event.deltaY
    : Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : 0;
  if (!lane || !(zooms || aside)) return;  // the page scrolls
  event.preventDefault();
  const pixels = event.deltaMode === 0 ? 1 : 30, width = view[1] - view[0];
  if (zooms) {
    const at = momentAt(lane, event.clientX), factor = Math.exp(between(event.deltaY * pixels / 200, -1, 1));
    show(at - (at - view[0]) * factor, at + (view[1] - at) * factor);
  } else {
    const step = aside * pixels / lane.clientWidth * width;
    show(view[0] + step, view[1] + step);
  }
}, { passive: false });

let drag = null;  // a stretch that is being marked: its lane, where it began, and the mark
timeline.addEventListener("dragstart", event => event.preventDefault());  // of a bar, which is a link
timeline.addEventListener("pointerdown", event => {
  const lane = event.target.closest(".lane");
  if (lane && event.button === 0) drag = { lane, from: event.clientX, mark: null };
});
addEventListener("pointermove", event => {
  if (!drag || (!drag.mark && Math.abs(event.clientX - drag.from) < 6)) return;
  if (!drag.mark) drag.lane.append(drag.mark = document.createElement("i"));
  const box = drag.lane.getBoundingClientRect();
  const [a, b] = [drag.from, event.clientX].map(x => between(x - box.left, 0, box.width)).sort((p, q) => p - q);
  drag.mark.style.left = `${a}px`;
  drag.mark.style.width = `${b - a}px`;
});
addEventListener("pointercancel", () => {
  if (drag && drag.mark) drag.mark.remove();
  drag = null;
});
addEventListener("pointerup", event => {
  const done = drag;
  drag = null;
  if (!done || !done.mark) return;
  done.mark.remove();
  const follows = click => { click.preventDefault(); click.stopPropagation(); };  // the bar was not pressed
  addEventListener("click", follows, { capture: true });
  setTimeout(() => removeEventListener("click", follows, { capture: true }));
  show(...[done.from, event.clientX].map(x => momentAt(done.lane, x)).sort((p, q) => p - q));
});
show(...whole);
