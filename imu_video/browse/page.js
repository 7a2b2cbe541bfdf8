"use strict";
// Shows one sample at a time: its clips, traces and pose follow one clock. Text enters the page as text only.
const data = JSON.parse(document.getElementById("data").textContent);
const COLOURS = ["#c0392b", "#1b7a3d", "#1f5fa8"];
const GROUPS = [["acc", "acceleration"], ["gyr", "angular rate"]];
const FILTERS = [
  ["split", "split", s => [s.split]],
  ["subject", "subject", s => [s.subject]],
  ["placement", "placement", s => s.devices.map(d => d.placement)],
  ["label", "label", s => [s.label]],
  ["reason", "quality", s => s.flags.length ? s.flags : ["(no flag)"]],
];
const state = {shown: [], at: -1, time: 0, playing: false, last: null};

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// ------------------------------------------------------------------------------------------------- frame of the page

const header = make("header", {}, make("h1", {}, data.title));
const selects = {};
for (const [id, name, of] of FILTERS) {
  const values = [...new Set(data.samples.flatMap(of))].sort();
  const select = make("select", {id: "filter-" + id}, make("option", {value: ""}, "all"));
  values.forEach(v => select.append(make("option", {value: v}, v)));
  select.addEventListener("change", filter);
  selects[id] = [select, of];
  header.append(make("label", {}, name, select));
}
const count = make("span", {id: "count"});
header.append(count);
const list = make("ul", {id: "list", role: "listbox", "aria-label": "samples", tabindex: "0"});
const main = make("main");
document.body.append(header, list, main);

function filter() {
  const chosen = Object.values(selects).filter(([select]) => select.value);
  state.shown = data.samples.filter(s => chosen.every(([select, of]) => of(s).includes(select.value)));
  list.replaceChildren(...state.shown.map((sample, i) => {
    const entry = make("li", {role: "option", "data-key": sample.key}, sample.label,
      make("small", {}, `${sample.subject} · ${sample.recording} · ${sample.start.toFixed(1)} s`));
    if (sample.flags.length) entry.lastChild.append(make("span", {class: "flag"}, " ⚑ " + sample.flags.length));
    entry.addEventListener("click", () => open(i));
    return entry;
  }));
  count.textContent = `${state.shown.length} of ${data.samples.length} samples shown, the folder has ${data.total}`;
  open(state.shown.length ? 0 : -1);
}

// -------------------------------------------------------------------------------------------------------- one sample

let parts = {videos: [], pose: null, devices: []};

function open(position) {
  state.at = position;
  state.time = 0;
  state.playing = false;
  parts = {videos: [], pose: null, devices: []};
  [...list.children].forEach((entry, i) => entry.setAttribute("aria-selected", String(i === position)));
  const sample = state.shown[position];
  if (!sample) {
    main.replaceChildren(make("p", {id: "empty"}, "No sample matches these filters."), folder());
    return;
  }
  list.children[position].scrollIntoView({block: "nearest"});
  const pictures = make("div", {class: "pictures"});
  for (const clip of sample.clips) {
    const video = make("video", {src: "data:video/mp4;base64," + clip.mp4, muted: true, playsInline: true, preload: "auto"});
    video.addEventListener("ended", () => { state.playing = false; });
    parts.videos.push(video);
    pictures.append(make("figure", {}, video, make("figcaption", {}, clip.camera)));
  }
  if (sample.pose && data.pose) {
    parts.pose = make("canvas", {class: "pose", width: 600, height: 600});
    pictures.append(make("figure", {}, parts.pose, make("figcaption", {}, "pose")));
  }
  pictures.append(describe(sample));
  const button = make("button", {id: "play", type: "button"}, "play");
  button.addEventListener("click", toggle);
  const controls = make("div", {class: "play"}, button, make("span", {id: "clock"}),
    make("span", {class: "key"}, "Click a trace to seek · Space: play or pause · J / K: next / previous sample"));
  main.replaceChildren(pictures, controls, ...sample.devices.map(device), folder());
  parts.devices.forEach(draw => draw());
  show();
}

function describe(sample) {
  const rows = [["key", sample.key], ["split", sample.split], ["label", sample.label], ["subject", sample.subject],
    ["recording", sample.recording], ["session", sample.session], ["start", sample.start.toFixed(2) + " s"],
    ...Object.entries(sample.tags)];
  if (sample.sync) {
    rows.push(["sync", Object.entries(sample.sync).map(([k, v]) => `${k} ${Number(v).toPrecision(3)}`).join(", ")]);
  }
  if (sample.left_out) rows.push(["clip", "not included: size limit of the page (--megabytes)"]);
  const table = make("table", {class: "facts"});
  rows.forEach(([name, value]) => table.append(make("tr", {}, make("th", {}, name), make("td", {}, String(value)))));
  const flags = sample.flags.length ? make("td", {class: "warn"}, sample.flags.join(", ")) : make("td", {}, "no flag");
  table.append(make("tr", {id: "flags"}, make("th", {}, "quality"), flags));
  return table;
}

function folder() {
  const table = make("table", {class: "facts"});
  data.facts.forEach(([name, value]) => table.append(make("tr", {}, make("th", {}, name), make("td", {}, value))));
  return make("details", {}, make("summary", {}, "About this data folder"), table);
}

// ------------------------------------------------------------------------------------------------------------ traces

function device(record) {
  const box = make("section", {class: "device", "data-placement": record.placement}, make("h2", {}, record.placement));
  for (const [prefix, word] of GROUPS) {
    const rows = data.channels.map((name, i) => [name, i]).filter(([name]) => name.startsWith(prefix));
    const lines = rows.map(([, i]) => record.values[i]);
    const measured = lines.flat().filter(v => v !== null);
    if (!measured.length) continue;
    const canvas = make("canvas", {"aria-label": `${word} of ${record.placement}`});
    const unit = data.units[rows[0][0]];
    box.append(make("div", {class: "key"}, `${word}, ${unit}: `, ...rows.map(([name], i) => {
      const mark = make("b", {}, name + " ");
      mark.style.color = COLOURS[i];
      return mark;
    })), canvas);
    canvas.addEventListener("click", event => seek((event.offsetX / canvas.clientWidth) * data.window_s));
    parts.devices.push(() => plot(canvas, lines, record));
  }
  box.append(make("div", {class: "cursor"}));
  return box;
}

function plot(canvas, lines, record) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  const draw = canvas.getContext("2d");
  draw.scale(ratio, ratio);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const values = lines.flat().filter(v => v !== null);
  let low = Math.min(...values), high = Math.max(...values);
  if (high - low < 1e-6) [low, high] = [low - 1, high + 1];
  const x = i => (i * record.step / record.samples) * width;
  const y = v => height - 8 - ((v - low) / (high - low)) * (height - 16);
  draw.fillStyle = "#5b6675";
  draw.font = "11px system-ui";
  draw.fillText(high.toPrecision(3), 4, 12);
  draw.fillText(low.toPrecision(3), 4, height - 4);
  lines.forEach((line, n) => {
    draw.strokeStyle = COLOURS[n];
    draw.lineWidth = 1.2;
    draw.beginPath();
    let pen = false;
    line.forEach((v, i) => {
      if (v === null) { pen = false; return; }
      if (pen) draw.lineTo(x(i), y(v)); else draw.moveTo(x(i), y(v));
      pen = true;
    });
    draw.stroke();
  });
}

function pose(sample) {
  const canvas = parts.pose, draw = canvas.getContext("2d"), {bones, right, up, fps} = data.pose;
  const frames = sample.pose;
  const all = frames.flat();
  const span = axis => [Math.min(...all.map(j => j[axis])), Math.max(...all.map(j => j[axis]))];
  const [left, far] = span(right), [bottom, top] = span(up);
  const scale = (canvas.width - 40) / Math.max(far - left, top - bottom, 1e-3);
  const place = j => [canvas.width / 2 + (j[right] - (left + far) / 2) * scale,
    canvas.height / 2 - (j[up] - (bottom + top) / 2) * scale];
  const joints = frames[Math.min(frames.length - 1, Math.round(state.time * fps))];
  draw.clearRect(0, 0, canvas.width, canvas.height);
  draw.strokeStyle = "#1f5fa8";
  draw.lineWidth = 5;
  draw.lineCap = "round";
  for (const [a, b] of bones) {
    draw.beginPath();
    draw.moveTo(...place(joints[a]));
    draw.lineTo(...place(joints[b]));
    draw.stroke();
  }
  draw.fillStyle = "#1d2430";
  for (const joint of joints) {
    draw.beginPath();
    draw.arc(...place(joint), 6, 0, 7);
    draw.fill();
  }
}

// ------------------------------------------------------------------------------------------------------------- clock

function show() {
  const sample = state.shown[state.at];
  if (!sample) return;
  document.getElementById("clock").textContent = `${state.time.toFixed(2)} / ${data.window_s} s`;
  document.getElementById("play").textContent = state.playing ? "pause" : "play";
  const share = Math.min(1, state.time / data.window_s);
  for (const cursor of main.querySelectorAll(".cursor")) {
    cursor.style.left = `calc(${share * 100}% - ${share * 2}px)`;
    cursor.dataset.time = state.time.toFixed(4);
  }
  if (parts.pose) pose(sample);
}

function seek(time) {
  state.time = Math.max(0, Math.min(time, data.window_s));
  parts.videos.forEach(video => { video.currentTime = Math.min(state.time, video.duration || state.time); });
  show();
}

function toggle() {
  if (state.at < 0) return;
  state.playing = !state.playing;
  if (state.playing) {
    if (state.time >= data.window_s - 0.05) seek(0);
    state.last = null;
    parts.videos.forEach(video => video.play());
    requestAnimationFrame(tick);
  } else {
    parts.videos.forEach(video => video.pause());
  }
  show();
}

function tick(now) {
  if (!state.playing) { show(); return; }
  // The first clip is the clock; without one, or past its end, the wall clock goes on.
  const video = parts.videos[0];
  if (video && !video.ended) state.time = video.currentTime;
  else if (state.last !== null) state.time += (now - state.last) / 1000;
  state.last = now;
  if (state.time >= data.window_s) { state.time = data.window_s; state.playing = false; }
  show();
  requestAnimationFrame(tick);
}

document.addEventListener("keydown", event => {
  if (event.target.tagName === "SELECT") return;
  if (event.key === " ") { event.preventDefault(); toggle(); }
  if (event.key === "j" && state.at + 1 < state.shown.length) open(state.at + 1);
  if (event.key === "k" && state.at > 0) open(state.at - 1);
});
window.addEventListener("resize", () => parts.devices.forEach(draw => draw()));
filter();
