// Score over multiply-accumulates as SVG: one point per manifestation, and the front
// as a line.

const [LEFT, RIGHT, TOP, BOTTOM] = [72, 740, 16, 212];

function svg(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// About `count` round numbers from low to high.
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((found) => found >= rough);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + 1e-9; i++) found.push(i * step);
  return found;
}

// 1, 2 and 5 times powers of ten from low to high.
function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++) {
    found.push(...[1, 2, 5].map((factor) => factor * 10 ** power));
  }
  return found.filter((value) => value >= low && value <= high);
}

/** Draws `net.manifestations` with number `chosen` marked; a click on one picks it. */
export function drawChart(chart, net, chosen, pick) {
  const points = net.manifestations;
  const scores = points.map(({ score }) => score);
  const [worst, best] = [Math.min(...scores), Math.max(...scores)];
  const margin = Math.max(0.12 * (best - worst), 0.4);
  const [low, high] = [worst - margin, best + margin];
  const costs = points.map(({ macs }) => macs);
  const [cheap, dear] = [Math.min(...costs) / 1.25, Math.max(...costs) * 1.25];
  const x = (macs) => LEFT + ((RIGHT - LEFT) * Math.log(macs / cheap)) / Math.log(dear / cheap);
  const y = (score) => BOTTOM - ((BOTTOM - TOP) * (score - low)) / (high - low);

  const parts = [];
  for (const score of ticks(low, Math.min(high, 100), 5)) {
    parts.push(svg("line", { class: "grid", x1: LEFT, x2: RIGHT, y1: y(score), y2: y(score) }));
    const text = String(Number(score.toFixed(4)));
    parts.push(svg("text", { x: LEFT - 8, y: y(score) + 4, "text-anchor": "end" }, text));
  }
  for (const macs of logTicks(cheap, dear)) {
    parts.push(svg("line", { class: "grid", x1: x(macs), x2: x(macs), y1: BOTTOM, y2: BOTTOM + 5 }));
    const text = `${Number((macs / 1e6).toPrecision(1))}`;
    parts.push(svg("text", { x: x(macs), y: BOTTOM + 19, "text-anchor": "middle" }, text));
  }
  const middle = (LEFT + RIGHT) / 2;
  parts.push(svg("text", { x: middle, y: BOTTOM + 40, "text-anchor": "middle" }, "million multiply-accumulates per image"));
  const turn = `rotate(-90 14 ${(TOP + BOTTOM) / 2})`;
  parts.push(svg("text", { x: 14, y: (TOP + BOTTOM) / 2, "text-anchor": "middle", transform: turn }, `${net.score_name}, %`));

  const front = points.filter((found) => found.front);
  const path = front.map(({ macs, score }, i) => (i ? `H${x(macs)}V${y(score)}` : `M${x(macs)},${y(score)}`));
  parts.push(svg("path", { class: "front", d: `${path.join("")}H${RIGHT}` }));

  points.forEach(({ scheme, steps, macs, score, front: onFront }, i) => {
    const point = svg("circle", { class: onFront ? "point best" : "point", cx: x(macs), cy: y(score), r: 6 });
    point.append(svg("title", {}, `${scheme} ${steps}: ${score.toFixed(2)} %`));
    point.addEventListener("click", () => pick(i));
    parts.push(point);
  });
  const here = points[chosen];
  const [right, above] = [x(here.macs) > middle, y(here.score) > TOP + 30];
  parts.push(svg("circle", { class: "ring", cx: x(here.macs), cy: y(here.score), r: 11 }));
  const place = { x: x(here.macs) + (right ? -16 : 16), y: y(here.score) + (above ? -12 : 24) };
  const name = here.scheme ? `${here.scheme} ${here.steps}` : "fixed depth";
  parts.push(svg("text", { class: "here", ...place, "text-anchor": right ? "end" : "start" }, name));

  chart.setAttribute("aria-label", `${net.score_name} over multiply-accumulates of ${points.length} manifestations. Chosen: ${name}, ${here.score.toFixed(2)} %, ${here.front ? "on" : "not on"} the Pareto front.`);
  chart.replaceChildren(...parts);
}
