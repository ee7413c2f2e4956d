// Runs the manifestations of net.json on an image, and shows what each costs.
//
// net.json -> weights.bin, *.onnx (when first chosen) -> pixels -> answer, chart

import * as ort from "./onnxruntime/ort.js";
import { drawChart } from "./chart.js";

// More threads need headers that few static servers send.
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";

const MOST_BARS = 10;
// A median of up to 25 runs, of at least 3, in at most 0.4 s.
const [FEWEST, MOST, PATIENCE] = [3, 25, 400];

const $ = (id) => document.getElementById(id);
const sessions = new Map();
const measured = new Map();
let net, weights, pixels, truth, dropped;
let turns = 0;
let queue = Promise.resolve();

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function complain(message) {
  $("error").textContent = message;
  $("error").hidden = !message;
}

async function fetched(path) {
  const answer = await fetch(path);
  if (!answer.ok) {
    throw new Error(`${path}: expected a file in this folder. Received status ${answer.status}: copy the whole folder to the server.`);
  }
  return answer;
}

// --- Pixels -------------------------------------------------------------------

// The whole picture at the size of the net's images, regardless of its proportions, as
// images of a training are resized.
async function pixelsOf(blob, inverted) {
  const [height, width, channels] = net.image_shape;
  const picture = await createImageBitmap(blob);
  const canvas = $("preview");
  [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingQuality = "high";
  pen.fillStyle = "#fff"; // Shows through transparent pixels.
  pen.fillRect(0, 0, width, height);
  pen.drawImage(picture, 0, 0, width, height);
  const image = pen.getImageData(0, 0, width, height);
  const found = new Uint8Array(height * width * channels);
  for (let i = 0; i < height * width; i++) {
    let colors = image.data.slice(4 * i, 4 * i + 3);
    if (inverted) colors = colors.map((value) => 255 - value);
    // Luma of ITU-R BT.601, as TensorFlow decodes coloured files to grey.
    const [red, green, blue] = colors;
    if (channels === 1) colors.fill(Math.round(0.299 * red + 0.587 * green + 0.114 * blue));
    found.set(colors.slice(0, channels), channels * i);
    image.data.set(colors, 4 * i);
  }
  pen.putImageData(image, 0, 0);
  return found;
}

async function take(blob, name, label = null, pressed = null) {
  try {
    pixels = await pixelsOf(blob, pressed === null && $("invert").checked);
  } catch {
    complain(`Expected an image that this browser can read. Received ${name}: choose a PNG, JPEG or WebP file.`);
    return;
  }
  complain("");
  truth = label;
  dropped = pressed === null ? { blob, name } : null;
  for (const button of $("samples").children) button.setAttribute("aria-pressed", button === pressed);
  update();
}

// --- Running ------------------------------------------------------------------

async function sessionOf({ file }) {
  if (!sessions.has(file)) {
    const model = new Uint8Array(await (await fetched(file)).arrayBuffer());
    const externalData = weights ? [{ path: net.weights, data: weights }] : [];
    sessions.set(file, await ort.InferenceSession.create(model, { externalData, executionProviders: ["wasm"] }));
  }
  return sessions.get(file);
}

async function run(chosen) {
  const session = await sessionOf(chosen);
  const image = new ort.Tensor("uint8", pixels, [1, ...net.image_shape]);
  let outputs = await session.run({ image }); // Warms up, not counted.
  const times = [];
  for (const start = performance.now(); times.length < MOST; ) {
    const before = performance.now();
    outputs = await session.run({ image });
    times.push(performance.now() - before);
    if (times.length >= FEWEST && performance.now() - start > PATIENCE) break;
  }
  times.sort((a, b) => a - b);
  return { probabilities: [...outputs.probabilities.data], milliseconds: times[times.length >> 1] };
}

// One run at a time; of the runs that wait, only the last is still wanted.
function update() {
  const turn = ++turns;
  const index = Number($("budget").value);
  const chosen = net.manifestations[index];
  showChoice(index);
  document.body.dataset.state = "busy";
  queue = queue.then(async () => {
    if (turn !== turns) return;
    try {
      const found = await run(chosen);
      measured.set(index, found.milliseconds);
      if (turn !== turns) return;
      showAnswer(found);
      showChoice(index);
      document.body.dataset.state = "done";
    } catch (error) {
      complain(String(error.message ?? error).split("\n")[0]);
      document.body.dataset.state = "failed";
    }
  });
}

// --- Showing ------------------------------------------------------------------

const percent = (value) => `${(100 * value).toFixed(2)} %`;
const millions = (macs) => (macs / 1e6).toPrecision(3);

function timeOf(index) {
  const found = measured.get(index);
  return found === undefined ? "…" : found < 10 ? found.toFixed(2) : found.toFixed(0);
}

function nameOf({ scheme, steps }) {
  return scheme ? `${scheme}, ${steps} step${steps === "1" ? "" : "s"}` : "fixed depth";
}

function showChoice(index) {
  const chosen = net.manifestations[index];
  const name = nameOf(chosen);
  $("budget").setAttribute("aria-valuetext", `${name}, ${millions(chosen.macs)} million multiply-accumulates`);
  $("manifestation").textContent = name + (chosen.trained ? " (as exported)" : "");
  $("macs").textContent = `${millions(chosen.macs)} M`;
  $("score").textContent = `${chosen.score.toFixed(2)} %`;
  $("milliseconds").textContent = `${timeOf(index)} ms`;
  $("front").textContent = chosen.front ? "yes" : "no";
  [...$("rows").rows].forEach((row, i) => {
    row.cells[4].textContent = timeOf(i);
    row.toggleAttribute("aria-current", i === index);
  });
  drawChart($("chart"), net, index, (i) => {
    $("budget").value = i;
    update();
  });
}

function showAnswer({ probabilities }) {
  const order = probabilities.map((_, i) => i);
  const best = order.reduce((a, b) => (probabilities[b] > probabilities[a] ? b : a));
  if (order.length > MOST_BARS) order.sort((a, b) => probabilities[b] - probabilities[a]);
  $("label").textContent = net.labels[best];
  const wrong = truth !== null && truth !== net.labels[best];
  $("truth").textContent = truth === null ? "" : wrong ? `is wrong: the sample is ${truth}` : "is right";
  $("truth").classList.toggle("wrong", wrong);
  $("bars").replaceChildren(...order.slice(0, MOST_BARS).map((i) => bar(net.labels[i], probabilities[i], i === best)));
}

function bar(name, probability, first) {
  const filled = element("span", { class: "filled" });
  filled.style.width = `${100 * probability}%`;
  return element(
    "li",
    first ? { class: "first" } : {},
    element("span", { class: "name" }, name),
    element("span", { class: "bar" }, filled),
    element("span", { class: "percent" }, percent(probability)),
  );
}

function showNet() {
  const megabytes = (net.bytes / 1e6).toFixed(2);
  $("about").prepend(`${net.data ? `Data: ${net.data}. ` : ""}`);
  $("size").textContent = `${net.manifestations.length} graphs and their weights: ${megabytes} MB`;
  $("score-name").textContent = `${net.score_name} on ${net.images}`;
  $("score-head").textContent = `${net.score_name}, %`;
  $("invert-label").hidden = net.image_shape[2] !== 1;
  $("budget").max = net.manifestations.length - 1;
  $("budget").value = Math.max(0, net.manifestations.findIndex((found) => found.trained));
  $("budget").disabled = net.manifestations.length < 2;
  $("rows").append(
    ...net.manifestations.map((found) => {
      const cells = [found.scheme || "fixed", found.steps || "", millions(found.macs), found.score.toFixed(2), "…", found.front ? "yes" : ""];
      return element("tr", {}, ...cells.map((text) => element("td", {}, text)));
    }),
  );
  $("samples").append(
    ...net.samples.map(({ file, label }, i) => {
      const name = label ?? `number ${i + 1}`;
      const button = element("button", { type: "button", "aria-pressed": "false" }, element("img", { src: file, alt: `sample: ${name}` }));
      button.addEventListener("click", () => choose(button, file, label));
      return button;
    }),
  );
}

async function choose(button, file, label) {
  try {
    await take(await (await fetched(file)).blob(), file, label, button);
  } catch (error) {
    complain(error.message);
  }
}

function listen() {
  $("budget").addEventListener("input", update);
  $("invert").addEventListener("change", () => dropped && take(dropped.blob, dropped.name));
  $("file").addEventListener("change", ({ target }) => target.files[0] && take(target.files[0], target.files[0].name));
  const drop = $("drop");
  // The whole page takes drops: beside the field, a browser would open the file.
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      const file = kind === "drop" && event.dataTransfer.files[0];
      if (file) take(file, file.name);
      else if (kind === "drop") complain("Expected an image file. Received something else: save the image first, then drop its file.");
    });
  }
}

async function start() {
  try {
    net = await (await fetched("net.json")).json();
    // Passed in, as ONNX Runtime complains if a server has no type for .wasm.
    ort.env.wasm.wasmBinary = await (await fetched("onnxruntime/ort.wasm")).arrayBuffer();
    if (net.weights) weights = new Uint8Array(await (await fetched(net.weights)).arrayBuffer());
    showNet();
    listen();
    $("status").hidden = true;
    document.querySelector("main").hidden = false;
    $("samples").firstChild?.click();
  } catch (error) {
    $("status").hidden = true;
    complain(error.message);
    document.body.dataset.state = "failed";
  }
}

start();
