"use strict";
// Shows one recording on one time line: wheel zooms, dragging pans, the slider moves the pictures. Text is only text.
const data = JSON.parse(document.getElementById("data").textContent);
const COLOURS = ["#c0392b", "#1b7a3d", "#1f5fa8"];
const PALETTE = ["#5b8ff9", "#61c9a8", "#e8a33d", "#b07fd6", "#e06c75", "#4aa8c0", "#8aa04a", "#c27ba0"];
const view = {from: data.start, to: data.start + data.seconds, shift: 0, drag: null};
const lanes = [];

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const hover = make("p", {id: "hover"});
document.body.append(
  make("h1", {}, data.title),
  make("p", {}, `subject ${data.subject}, ${data.seconds.toFixed(1)} s from ${data.start.toFixed(2)} s, ` +
    `${data.windows.length} windows kept, ${data.dropped.length} dropped. ` +
    "Wheel: zoom. Drag: move. Double-click: whole recording."));
if (data.cameras.some(camera => camera.motion.length)) document.body.append(offsetRow());
document.body.append(hover);

function offsetRow() {
  const slider = make("input", {id: "offset", type: "range", min: "-30", max: "30", step: "0.01", value: "0",
    "aria-label": "shift of the video in seconds"});
  const advice = make("span", {id: "advice"});
  const reset = make("button", {type: "button"}, "reset");
  const say = () => {
    const shift = view.shift.toFixed(2);
    advice.textContent = data.offset_s === null
      ? `video moved by ${shift} s: add ${shift} to the video's offset_s (or start) in dataset.yaml`
      : `video moved by ${shift} s: offset_s: ${(data.offset_s + view.shift).toFixed(3)} in dataset.yaml`;
  };
  slider.addEventListener("input", () => { view.shift = Number(slider.value); say(); drawAll(); });
  reset.addEventListener("click", () => { slider.value = "0"; view.shift = 0; say(); drawAll(); });
  say();
  return make("div", {id: "offset-row"}, make("label", {for: "offset"}, "move video"), slider, reset, advice);
}

// --------------------------------------------------------------------------------------------------------------- lanes

function lane(title, height, draw, describe = () => "") {
  const canvas = make("canvas", {"data-lane": title});
  canvas.style.height = height + "px";
  document.body.append(make("h2", {}, title), canvas);
  lanes.push({canvas, draw});
  canvas.addEventListener("wheel", event => {
    event.preventDefault();
    const at = time(canvas, event.offsetX), factor = event.deltaY > 0 ? 1.25 : 0.8;
    const span = Math.min(data.seconds, Math.max(0.2, (view.to - view.from) * factor));
    show(at - (at - view.from) * span / (view.to - view.from), span);
  }, {passive: false});
  canvas.addEventListener("dblclick", () => show(data.start, data.seconds));
  canvas.addEventListener("pointerdown", event => { view.drag = event.clientX; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", () => { view.drag = null; });
  canvas.addEventListener("pointermove", event => {
    const at = time(canvas, event.offsetX);
    hover.textContent = `${at.toFixed(2)} s ${describe(at)}`;
    if (view.drag === null) return;
    const span = view.to - view.from;
    show(view.from - (event.clientX - view.drag) / canvas.clientWidth * span, span);
    view.drag = event.clientX;
  });
}

function time(canvas, x) { return view.from + x / canvas.clientWidth * (view.to - view.from); }

function show(from, span) {
  view.from = Math.min(Math.max(from, data.start), data.start + data.seconds - span);
  view.to = view.from + span;
  drawAll();
}

function drawAll() {
  for (const {canvas, draw} of lanes) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "11px system-ui";
    const width = canvas.clientWidth, height = canvas.clientHeight;
    draw(pen, t => (t - view.from) / (view.to - view.from) * width, width, height);
  }
  document.body.dataset.span = (view.to - view.from).toFixed(3);
  document.body.dataset.shift = view.shift.toFixed(2);
}

function traces(pen, x, width, height, lines, colours) {
  const seen = lines.flatMap(points => points.filter(([t, v]) => v !== null && t >= view.from && t <= view.to).map(p => p[1]));
  if (!seen.length) return;
  let low = seen.reduce((a, b) => Math.min(a, b)), high = seen.reduce((a, b) => Math.max(a, b));
  if (high - low < 1e-6) [low, high] = [low - 1, high + 1];
  const y = v => height - 6 - (v - low) / (high - low) * (height - 12);
  pen.fillStyle = "#5b6675";
  pen.fillText(high.toPrecision(3), 4, 11);
  pen.fillText(low.toPrecision(3), 4, height - 3);
  lines.forEach((points, n) => {
    pen.strokeStyle = colours[n];
    pen.beginPath();
    let down = false, last = null;
    for (const [t, v] of points) {
      if (v === null || (last !== null && t - last > data.window_s)) down = false;
      if (v === null) continue;
      if (down) pen.lineTo(x(t), y(v)); else pen.moveTo(x(t), y(v));
      [down, last] = [true, t];
    }
    pen.stroke();
  });
}

function spans(pen, x, height, items, colour, text) {
  for (const item of items) {
    const left = x(item.start), right = x(item.end);
    if (right < 0 || left > pen.canvas.width) continue;
    pen.fillStyle = colour(item);
    pen.fillRect(left, 3, Math.max(1, right - left - 1), height - 6);
    const words = text(item);
    if (words && right - left > 30) {
      pen.save();
      pen.beginPath();
      pen.rect(left, 0, right - left - 3, height);
      pen.clip();
      pen.fillStyle = "#1d2430";
      pen.fillText(words, Math.max(left, 0) + 4, height / 2 + 4);
      pen.restore();
    }
  }
}

const names = [...new Set(data.labels.map(one => one.label))];
lane("labels", 28, (pen, x, width, height) => spans(pen, x, height, data.labels,
  one => PALETTE[names.indexOf(one.label) % PALETTE.length], one => one.label));

// Overlapping windows are drawn up to the start of the next one, so that each can be seen.
const starts = [...data.windows, ...data.dropped].map(one => one.start).sort((a, b) => a - b);
const next = new Map(starts.map((start, i) => [start, Math.min(start + data.window_s, starts[i + 1] ?? Infinity)]));
const kept = data.windows.map(one => ({...one, end: next.get(one.start)}));
const lost = data.dropped.map(one => ({...one, end: next.get(one.start)}));
const at = (items, t) => items.filter(one => one.start <= t && t < one.end);
lane("windows: kept (blue), with flags (amber), dropped (red)", 34, (pen, x, width, height) => {
  spans(pen, x, height, lost, () => "#e3a49a", one => one.reason);
  spans(pen, x, height, kept, one => one.flags.length ? "#eec27a" : "#a9c6ea", one => one.flags.join(", "));
}, t => [...at(kept, t).map(one => `${one.key} (${one.split})${one.label ? ", " + one.label : ""}` +
    (one.flags.length ? ", flags: " + one.flags.join(", ") : "")),
  ...at(lost, t).map(one => "dropped: " + one.reason)].join("; "));

for (const camera of data.cameras) {
  const images = camera.pictures.map(one => {
    const image = new Image();
    image.addEventListener("load", drawAll);
    image.src = "data:image/jpeg;base64," + one.jpeg;
    return {time: one.time, image};
  });
  lane(`frames of ${camera.name}`, 76, (pen, x) => {
    let free = -Infinity;
    for (const {time: t, image} of images) {
      const left = x(t + view.shift);
      if (left < free || !image.naturalWidth) continue;
      pen.drawImage(image, left, 2);
      free = left + image.naturalWidth + 2;
    }
  });
  lane(`motion in the frames of ${camera.name}`, 60, (pen, x, width, height) =>
    traces(pen, x, width, height, [camera.motion.map(([t, v]) => [t + view.shift, v])], ["#7a4fb0"]));
}

for (const device of data.devices) {
  for (const [prefix, word] of [["acc", "acceleration"], ["gyr", "angular rate"]]) {
    const rows = data.channels.map((name, i) => [name, i]).filter(([name]) => name.startsWith(prefix));
    const lines = rows.map(([, i]) => device.values[i].map((v, n) => [data.start + n * device.step_s, v]));
    if (!lines.flat().some(point => point[1] !== null)) continue;
    const keys = rows.map(([name], i) => `${name} ${["red", "green", "blue"][i]}`).join(", ");
    lane(`${device.placement}: ${word}, ${data.units[rows[0][0]]} (${keys})`, 110, (pen, x, width, height) =>
      traces(pen, x, width, height, lines, COLOURS));
  }
}

if (data.findings.length) document.body.append(make("h2", {}, "findings of the quality checks"),
  make("ul", {id: "findings"}, ...data.findings.map(text => make("li", {}, text))));
if (data.sync) document.body.append(make("p", {id: "sync"},
  `sync estimate: offset ${data.sync.offset_s} s, score ${data.sync.score}, ${data.sync.corrected ? "corrected" : "not corrected"}`));
window.addEventListener("resize", drawAll);
drawAll();
