// The page: tabs, forms, one request at a time, and what is said about it.

import * as address from "/static/address.js";
import { get, post, save } from "/static/api.js";
import { Closer, showEnhanced, showSamples, showSlide } from "/static/gallery.js";
import { OwnImage } from "/static/own.js";
import { Picker } from "/static/picker.js";

const byId = (id) => document.getElementById(id);
const SEEDS = 2 ** 32; // new seeds stay readable; larger ones can be typed
const PATIENCE = 700; // ms before a wait is explained

const about = await get("/api/model").catch((error) => {
  complain(error.message);
  throw error;
});
const pickers = {};
for (const root of document.querySelectorAll("[data-picker]")) {
  const name = root.dataset.picker;
  pickers[name] = new Picker(root, { many: name === "sample-class", onChange: remember });
}
const own = about.enhances
  ? new OwnImage({ maxBytes: about.max_upload_bytes, onProblem: complain, onChange: calm })
  : null;
const closer = new Closer({ onEnd: useAsEnd });

// Each task: where it is sent, what is sent, what is shown; later also the last request, its images and what was said.
const tasks = {
  sample: {
    path: "/api/sample",
    body: () => ({ classes: pickers["sample-class"]?.chosen ?? [], n: number("sample", "n"), seed: seed("seed") }),
    check: () => needs("sample-class", "Choose a class first: type a part of its name, then press Enter."),
    show: showSamples,
    file: "samples",
  },
  slide: {
    path: "/api/slide",
    body: () => ({ from: end("from"), to: end("to"), steps: number("slide", "steps") }),
    check: () => ["from", "to"].map((name) => needs(`${name}-class`, "Choose a class for both ends first.")).every(Boolean),
    show: showSlide,
    file: "slide",
  },
  enhance: {
    path: "/api/enhance",
    body: () => {
      const form = new FormData();
      form.append("class", pickers["own-class"].chosen[0]);
      form.append("n", number("enhance", "n"));
      form.append("seed", seed("own-seed"));
      form.append("image", own.file);
      return form;
    },
    check: () => {
      if (!own.file) {
        complain("Choose an image first: click, drop or paste one.");
        return false;
      }
      return needs("own-class", "Say which class the image shows.");
    },
    show: showEnhanced,
    file: "enhanced",
  },
};

let current = "sample";
let running = null; // its AbortController

function number(task, name) {
  return byId(`panel-${task}`).elements[name].valueAsNumber;
}

function seed(id) {
  return byId(id).valueAsNumber;
}

function end(name) {
  const value = { seed: seed(`${name}-seed`) };
  if (about.classes) value.class = pickers[`${name}-class`].chosen[0];
  return value;
}

function needs(name, problem) {
  const picker = pickers[name];
  if (!picker || picker.chosen.length) return true;
  picker.input.setAttribute("aria-invalid", "true");
  picker.input.focus();
  complain(problem);
  return false;
}

function say(text, busy = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("busy", busy);
}

function complain(text) {
  const sentence = text[0].toUpperCase() + text.slice(1);
  byId("message").textContent = /[.?!]$/.test(sentence) ? sentence : `${sentence}.`;
  byId("message").hidden = false;
  byId("message").scrollIntoView({ block: "nearest" });
}

function calm() {
  byId("message").hidden = true;
  byId("message").textContent = "";
}

function remember() {
  address.write({
    task: current,
    class: pickers["sample-class"]?.chosen ?? [],
    n: byId("panel-sample").elements.n.value,
    seed: byId("seed").value,
    from: pickers["from-class"]?.chosen ?? [],
    "from-seed": byId("from-seed").value,
    to: pickers["to-class"]?.chosen ?? [],
    "to-seed": byId("to-seed").value,
    steps: byId("panel-slide").elements.steps.value,
  });
}

async function recall() {
  const state = address.read();
  const first = about.classes ? (await get("/api/classes?limit=4")).classes : [];
  pickers["sample-class"]?.set(state.has("class") ? state.getAll("class") : first);
  pickers["from-class"]?.set([state.get("from") ?? first[0]]);
  pickers["to-class"]?.set([state.get("to") ?? first[1] ?? first[0]]);
  for (const [name, field] of [
    ["n", byId("panel-sample").elements.n],
    ["seed", byId("seed")],
    ["from-seed", byId("from-seed")],
    ["to-seed", byId("to-seed")],
    ["steps", byId("panel-slide").elements.steps],
  ]) {
    if (state.has(name)) field.value = state.get(name);
  }
  choose(tasks[state.get("task")] && byId(`tab-${state.get("task")}`) ? state.get("task") : "sample");
  if (current !== "enhance") await run(false);
}

function choose(task, focus = false) {
  current = task;
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const chosen = tab.id === `tab-${task}`;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !chosen;
    if (chosen && focus) tab.focus();
  }
  calm();
  remember();
  draw();
}

// The images of the task at hand.
function draw() {
  const { nodes = [], said = "", request } = tasks[current];
  byId("images").replaceChildren(...nodes);
  byId("tools").hidden = !request;
  byId("results").classList.remove("stale");
  if (!running) say(said);
}

function visit(task, focus = false) {
  choose(task, focus);
  if (task === "slide" && !tasks.slide.request) run();
}

function useAsEnd(name, image) {
  pickers[`${name}-class`]?.set([image.class]);
  byId(`${name}-seed`).value = image.seed;
  choose("slide", true);
  run();
}

// Shows where in line we are, once it takes a while.
function explainWait(what, signal) {
  const started = Date.now();
  say(what, true);
  const timer = setInterval(async () => {
    const seconds = Math.round((Date.now() - started) / 1000);
    let line = "";
    try {
      const before = (await get("/api/queue", signal)).waiting - 1;
      if (before > 0) line = `, ${before} other request${before > 1 ? "s" : ""} in line`;
    } catch {
      // The request itself will tell.
    }
    if (running?.signal === signal) say(`${what} ${seconds} s${line}`, true);
  }, PATIENCE * 2);
  signal.addEventListener("abort", () => clearInterval(timer));
  return () => clearInterval(timer);
}

function setBusy(busy) {
  for (const button of document.querySelectorAll("button.primary")) button.setAttribute("aria-disabled", busy);
  for (const button of document.querySelectorAll("[data-stop]")) button.hidden = !busy;
  if (busy) byId("results").classList.add("stale");
  byId("images").setAttribute("aria-busy", busy);
}

async function run(follow = true) {
  const task = tasks[current];
  const form = byId(`panel-${current}`);
  if (running || !task.check()) return;
  if (!form.checkValidity()) {
    const wrong = form.querySelector(":invalid");
    wrong.focus();
    complain(`${wrong.labels[0].firstChild.textContent.trim()}: ${wrong.validationMessage}`);
    return;
  }
  calm();
  remember();
  const request = { body: task.body() };
  await attempt("Working ...", async (signal) => {
    const started = performance.now();
    const { images } = await (await post(task.path, request.body, "json", signal)).json();
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    const nodes = task.show(images, (image) => closer.show(image));
    Object.assign(task, { request, nodes, said: `${images.length} images in ${seconds} s.` });
    if (task !== tasks[current]) return;
    draw();
    say(task.said);
    // On a narrow screen the images are below what was typed.
    if (follow && matchMedia("(max-width: 760px)").matches) byId("results").scrollIntoView();
  });
}

async function download(form) {
  const { request, file, path } = tasks[current];
  const name = `ctfgan-${file}.${{ sheet: "png", zip: "zip" }[form]}`;
  await attempt("Packing ...", async (signal) => {
    await save(await post(path, request.body, form, signal), name);
    byId("results").classList.remove("stale");
    say(`Saved as ${name}.`);
  });
}

async function attempt(what, work) {
  if (running) return;
  running = new AbortController();
  setBusy(true);
  const stopExplaining = explainWait(what, running.signal);
  try {
    await work(running.signal);
  } catch (error) {
    if (error.name === "AbortError") {
      say("Stopped.");
      byId("results").classList.remove("stale");
    } else {
      say("");
      complain(error.message);
    }
  } finally {
    stopExplaining();
    running = null;
    setBusy(false);
  }
}

for (const task of Object.keys(tasks)) {
  const form = byId(`panel-${task}`);
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  form?.addEventListener("change", remember);
  byId(`tab-${task}`)?.addEventListener("click", () => visit(task));
}
document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const place = tabs.indexOf(document.activeElement);
  const moves = { ArrowRight: place + 1, ArrowLeft: place - 1 + tabs.length, Home: 0, End: tabs.length - 1 };
  if (!(event.key in moves)) return;
  event.preventDefault();
  visit(tabs[moves[event.key] % tabs.length].id.slice("tab-".length), true);
});
for (const button of document.querySelectorAll("[data-new-seed]")) {
  button.addEventListener("click", () => {
    byId(button.dataset.newSeed).value = Math.floor(Math.random() * SEEDS);
    if (current !== "enhance" || own.file) run();
  });
}
for (const button of document.querySelectorAll("[data-stop]")) button.addEventListener("click", () => running?.abort());
for (const button of document.querySelectorAll("[data-form]")) {
  button.addEventListener("click", () => download(button.dataset.form));
}
byId("size").addEventListener("input", (event) => {
  document.documentElement.style.setProperty("--tile", `${event.target.value}px`);
});

addEventListener("hashchange", recall); // someone typed another address; our own writing does not come here
await recall().catch((error) => complain(error.message));
document.body.dataset.ready = "yes"; // for whoever drives the page
