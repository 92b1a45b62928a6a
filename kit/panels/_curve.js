// The schedule as a curve under the strip, whose width means step, t or log-SNR; its point goes with the hand.

const CURVE = 140, TOP = 22, BOTTOM = 10, RUG = 7;
const SVG = "http://www.w3.org/2000/svg";

function shape(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const DASHES = ["", "7 4", "2 3", "10 3 2 3", "5 2", "1 4"];  // not by colour alone
const swatch = track => shape("svg", { class: "kit-swatch", viewBox: "0 0 22 8", width: 22, height: 8, "aria-hidden": true },
  shape("path", { d: "M0 4H22", "stroke-dasharray": DASHES[track] }));

const minus = text => String(text).replace("-", "−");

// The lowest and highest of all finite log-SNR, with a little room.
function logSnrRange(levels) {
  const finite = levels.flat().map(logSnr).filter(Number.isFinite);
  const low = Math.min(...finite, 0), high = Math.max(...finite, 0), room = 0.02 * (high - low || 1);
  return [low - room, high + room];
}

// What the width of the panel stands for. place: step to share of the width; stepAt: the way back.
class Axis {
  constructor(kind, timesteps, levels, track) {
    const [low, high] = logSnrRange(levels);
    const values = {
      "step": () => timesteps.map((_, step) => step),
      "t": () => timesteps,
      "log-SNR": () => levels[track].map(alphaBar => -Math.max(low, Math.min(high, logSnr(alphaBar)))),
    }[kind]();
    const ends = kind === "log-SNR" ? [-high, -low] : [Math.min(...values) - 0.5, Math.max(...values) + 0.5];
    Object.assign(this, { kind, values, ends });
  }

  share(value) { return (value - this.ends[0]) / (this.ends[1] - this.ends[0]); }

  place(step) { return this.share(this.values[step]); }

  stepAt(share) {
    const wanted = this.ends[0] + share * (this.ends[1] - this.ends[0]);
    let best = 0;
    this.values.forEach((value, step) => {
      if (Math.abs(value - wanted) < Math.abs(this.values[best] - wanted)) best = step;
    });
    return best;
  }

  // Short and named ticks, [share, text or ""], on round numbers.
  ticks(width) {
    const [low, high] = this.ends, shift = this.kind === "step" ? 1 : 0, sign = this.kind === "log-SNR" ? -1 : 1;
    const every = tickEvery(width, high - low, 7), named = tickEvery(width, high - low, 44), ticks = [];
    for (let k = Math.ceil((low + shift) / every); k * every - shift <= high; k++) {
      const value = k * every;
      ticks.push([this.share(value - shift), value % named === 0 ? minus(sign * value || 0) : ""]);
    }
    return ticks;
  }
}

// What the height stands for: how high a level is drawn, in [0, 1], and the named lines.
function heights(kind, levels) {
  const [low, high] = logSnrRange(levels);
  const level = alphaBar => Math.max(low, Math.min(high, logSnr(alphaBar)));
  const along = value => (value - low) / (high - low);
  if (kind === "ᾱ") return { of: alphaBar => alphaBar, lines: [0, 0.5, 1].map(value => [value, String(value)]) };
  if (kind === "log-SNR") {
    const every = [2, 5, 10, 20].find(size => (high - low) / size <= 5) ?? 50, lines = [];
    for (let value = Math.ceil(low / every) * every; value <= high; value += every) lines.push([along(value), minus(value)]);
    return { of: alphaBar => along(level(alphaBar)), lines };
  }
  // sigma = exp(-log-SNR / 2), on a logarithmic scale
  const lines = [0.001, 0.01, 0.1, 1, 10, 100, 1000].map(sigma => [1 - along(-2 * Math.log(sigma)), String(sigma)]);
  return { of: alphaBar => 1 - along(level(alphaBar)), lines: lines.filter(([at]) => at >= 0 && at <= 1) };
}

class Curve {
  constructor(model, frames) {
    Object.assign(this, { model, frames });
    this.root = shape("svg", { class: "kit-curve", height: CURVE, "aria-hidden": true });
  }

  // All but the points, drawn anew when the axis, the schedule or the width changes.
  draw(width) {
    const { model, frames } = this, { levels } = frames;
    this.width = width;
    this.axes = levels.map((_, track) => new Axis(model.get("axis"), model.get("timesteps"), levels, track));
    this.axis = this.axes[frames.track];
    this.height = heights(model.get("curve"), levels);
    this.points = levels.map((_, track) => shape("circle", { class: `kit-point kit-track-${track}`, r: 4.5 }));
    this.points[frames.track].classList.add("kit-chosen");
    this.points[frames.track].setAttribute("r", 7);
    this.flags = shape("g");
    this.needle = shape("path", { class: "kit-needle", d: `M0 0V${CURVE}` });
    this.root.setAttribute("width", width);
    this.root.setAttribute("viewBox", `0 0 ${width} ${CURVE}`);
    const order = levels.map((_, track) => track).sort((a, b) => (a === frames.track) - (b === frames.track));
    const what = shape("text", { class: "kit-what", x: width - 8, y: 15 },
      `${model.get("curve")} over ${model.get("axis")}`);
    this.root.replaceChildren(what, ...this.#lines(), ...this.#rug(), this.needle,
      ...order.map(track => this.#path(track)), this.flags,
      ...order.map(track => this.points[track]));
    this.flag();
  }

  // From a height in [0, 1]; the rug lies below 0.
  #y(height) {
    const floor = CURVE - BOTTOM - (this.model.get("axis") === "log-SNR" ? this.frames.levels.length * RUG : 0);
    return floor - height * (floor - TOP);
  }

  #lines() {
    return this.height.lines.map(([at, text]) => {
      const y = this.#y(at);
      return shape("g", { class: "kit-line" }, shape("path", { d: `M0 ${y}H${this.width}` }),
        shape("text", { x: 3, y: y - 3 }, text));
    });
  }

  #path(track) {
    const axis = this.axes[track], chosen = track === this.frames.track ? " kit-chosen" : "";
    const at = this.frames.levels[track].map((alphaBar, step) =>
      [axis.place(step) * this.width, this.#y(this.height.of(alphaBar))]).sort((a, b) => a[0] - b[0]);
    return shape("path", { class: `kit-schedule kit-track-${track}${chosen}`, "stroke-dasharray": DASHES[track],
      d: "M" + at.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L") });
  }

  // Where each schedule spends its steps, fifty or fewer of them: on the other axes they would all be even.
  #rug() {
    if (this.model.get("axis") !== "log-SNR") return [];
    return this.axes.map((axis, track) => {
      const every = Math.ceil(axis.values.length / 50), y = CURVE - 4 - RUG * (this.axes.length - 1 - track);
      const places = axis.values.map((_, step) => step).filter(step => step % every === 0).map(step => axis.place(step));
      return shape("path", { class: `kit-rug kit-track-${track}`,
        d: places.map(place => `M${(place * this.width).toFixed(1)} ${y}v-5`).join("") });
    });
  }

  // The marks A and B.
  flag() {
    this.flags.replaceChildren(...this.model.get("marks").map((step, i) => step < 0 ? "" : shape("g", { class: "kit-flag",
      transform: `translate(${(this.axis.place(step) * this.width).toFixed(1)} 0)` },
      shape("path", { d: `M0 0V${CURVE}` }), shape("rect", { x: -8, width: 16, height: 16, rx: 3 }),
      shape("text", { y: 12 }, "AB"[i]))));
  }

  move(step) {
    const { frames } = this, x = this.axis.place(step) * this.width;
    this.needle.setAttribute("transform", `translate(${x.toFixed(1)} 0)`);
    this.points.forEach((point, track) => {
      const at = frames.where(track, step);
      point.setAttribute("cx", this.axes[track].place(at) * this.width);
      point.setAttribute("cy", this.#y(this.height.of(frames.levels[track][at])));
    });
  }
}
