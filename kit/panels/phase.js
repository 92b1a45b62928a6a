// x over t for a mixture of normals, computed here: the exact flow, DDIM in N steps, a student that loses nothing.

const TEACHER = 256, LAST = 6;  // steps of the exact path; 2^LAST steps at most
const EVERY = 10, FIRST = 5;    // of the starts the sixth is drawn, and every tenth after it
const GAP = 16, HEAD = 46, DRAWN = 4, BINS = 48;

// --- the mathematics

const alphaAt = t => Math.cos(Math.PI / 2 * t);
const sigmaAt = t => Math.sin(Math.PI / 2 * t);

// The density at x of alpha X + sigma eps.
function density(x, alpha, sigma, { means, stds, weights }) {
  return means.reduce((sum, mean, k) => {
    const variance = (alpha * stds[k]) ** 2 + sigma ** 2;
    return sum + weights[k] * Math.exp(-((x - alpha * mean) ** 2) / (2 * variance)) / Math.sqrt(2 * Math.PI * variance);
  }, 0);
}

// E[X | alpha X + sigma eps = z]: each mode's, by how likely z is to be of it.
function denoised(z, alpha, sigma, { means, stds, weights }) {
  const variances = stds.map(std => (alpha * std) ** 2 + sigma ** 2);
  const logs = means.map((mean, k) =>
    Math.log(weights[k]) - 0.5 * Math.log(variances[k]) - (z - alpha * mean) ** 2 / (2 * variances[k]));
  const most = Math.max(...logs), likely = logs.map(log => Math.exp(log - most)), all = likely.reduce((a, b) => a + b);
  return means.reduce((sum, mean, k) =>
    sum + likely[k] / all * (mean + alpha * stds[k] ** 2 / variances[k] * (z - alpha * mean)), 0);
}

// DDIM's states from z at t = 1, steps + 1 of them. 2202.00512, Eq. 7.
function path(z, steps, mixture) {
  const states = [z];
  for (let i = steps; i > 0; i--) {
    const alpha = alphaAt(i / steps), sigma = sigmaAt(i / steps), x = denoised(z, alpha, sigma, mixture);
    z = alphaAt((i - 1) / steps) * x + sigmaAt((i - 1) / steps) / sigma * (z - alpha * x);
    states.push(z);
  }
  return states;
}

// The Wasserstein-1 distance of two equally large samples.
function w1(a, b) {
  const [one, other] = [a, b].map(values => Float64Array.from(values).sort());
  return one.reduce((sum, value, i) => sum + Math.abs(value - other[i]), 0) / one.length;
}

const furthest = paths => paths.reduce((most, states) => Math.max(most, ...states.map(Math.abs)), 0);

// --- what all views of a model share

class Choice {
  #views = new Set();
  held = false;

  constructor(model) {
    this.model = model;
    this.mixture = model.get("mixture");
    this.starts = model.get("starts");
    this.exact = this.starts.map(z => path(z, TEACHER, this.mixture));
    this.ddim = Object.fromEntries(Array.from({ length: LAST + 1 }, (_, k) => 2 ** k).map(steps => [steps, this.#walked(steps)]));
    this.clock = new Clock();
    for (const name of ["steps", "start"]) {
      this[name] = model.get(name);
      model.on(`change:${name}`, () => { if (!this.held) this.set({ [name]: model.get(name) }); });
    }
    const drawn = [this.exact, ...Object.values(this.ddim).map(({ paths }) => paths)].map(paths => this.drawn.map(i => paths[i]));
    this.reach = 1.1 * drawn.reduce((most, paths) => Math.max(most, furthest(paths)), 0);
  }

  #walked(steps) {
    const paths = this.starts.map(z => path(z, steps, this.mixture));
    return { paths, apart: w1(paths.map(states => states.at(-1)), this.exact.map(states => states.at(-1))) };
  }

  // A student that has learnt all of its teacher's steps: from each level to the next, the end of the exact path.
  get student() {
    return { paths: this.exact.map(states => states.filter((_, i) => i % (TEACHER / this.steps) === 0)), apart: 0 };
  }

  get drawn() { return this.starts.flatMap((_, i) => i % EVERY === FIRST ? [i] : []); }
  get chosen() { return EVERY * this.start + FIRST; }

  set(changes) {
    if (changes.steps) changes.steps = this.#snapped(changes.steps);
    Object.assign(this, changes);
    this.tell();
  }

  // The next power of two on the way from where it was.
  #snapped(steps) {
    const power = Math.log2(Math.max(1, steps)), whole = steps > this.steps ? Math.ceil(power) : Math.floor(power);
    return 2 ** clamp(whole, 0, LAST);
  }

  commit() {
    for (const name of ["steps", "start"]) this.model.set(name, this[name]);
    this.model.save_changes();
  }

  join(view, signal) {
    this.#views.add(view);
    signal.addEventListener("abort", () => this.#views.delete(view));
  }

  tell() { for (const view of this.#views) view(); }

  close() { this.clock.close(); }
}

// --- one pane: a way from noise to data over the exact one

class Pane {
  constructor(choice, name, colour, signal) {
    Object.assign(this, { choice, name });
    this.parts = Object.fromEntries(["kit-exact", "kit-noise", "kit-data", "kit-ends", "kit-paths", "kit-bold-exact", "kit-bold", "kit-levels"]
      .map(part => [part, drawn("path", { class: part })]));
    this.dots = drawn("g", { class: "kit-dots" });
    this.svg = drawn("svg", { role: "img" }, ...Object.values(this.parts), this.dots);
    this.title = element("strong", {}, name);
    this.apart = element("dd", {});
    this.node = element("figure", { className: `kit-pane ${colour}` },
      element("figcaption", {}, this.title, element("dl", {}, element("div", {}, element("dt", {}, "W1 to the exact ends"), this.apart))),
      this.svg, element("div", { className: "kit-axis", "aria-hidden": "true" }, ...["t = 1, noise", "0.5", "t = 0, data"].map(text => element("span", {}, text))));
    this.svg.addEventListener("pointermove", event => this.#near(event), { signal });
    this.svg.addEventListener("pointerdown", event => this.#near(event, true), { signal });
  }

  resize(width, height) {
    Object.assign(this, { width, height });
    place(this.svg, { viewBox: `0 0 ${width} ${height}`, width, height });
    this.#still();
  }

  x(t) { return HEAD + (1 - t) * (this.width - 2 * HEAD); }
  y(value) { return this.height / 2 * (1 - value / this.choice.reach); }

  #line(states) {
    const last = states.length - 1;
    return "M" + states.map((value, i) => `${this.x(1 - i / last).toFixed(1)} ${this.y(value).toFixed(1)}`).join("L");
  }

  // What does not change with N: the exact flow, and the densities at both ends.
  #still() {
    const { choice, parts } = this, coarse = states => states.filter((_, i) => i % DRAWN === 0);
    place(parts["kit-exact"], { d: choice.drawn.map(i => this.#line(coarse(choice.exact[i]))).join("") });
    place(parts["kit-noise"], { d: this.#hill(value => density(value, 0, 1, choice.mixture), this.x(1) - 4, -1) });
    place(parts["kit-data"], { d: this.#hill(value => density(value, 1, 0, choice.mixture), this.x(0) + 4, 1) });
  }

  get #tallest() {
    const { mixture, reach } = this.choice;
    return Math.max(...Array.from({ length: 400 }, (_, i) => density(reach * (i / 200 - 1), 1, 0, mixture)));
  }

  #hill(of, foot, side) {
    const { reach } = this.choice, points = Array.from({ length: 161 }, (_, i) => reach * (i / 80 - 1));
    const tall = side < 0 ? of(0) : this.#tallest;
    return `M${foot} ${this.y(-reach)}L` + points.map(value => `${(foot + side * 0.85 * (HEAD - 4) * of(value) / tall).toFixed(1)} ${this.y(value).toFixed(1)}`).join("L") + `L${foot} ${this.y(reach)}Z`;
  }

  // The ends as a histogram in the scale of the density beside it.
  #ends(paths) {
    const { reach } = this.choice, counts = new Array(BINS).fill(0), foot = this.x(0) + 4, wide = 2 * reach / BINS;
    for (const states of paths) counts[Math.floor((states.at(-1) + reach) / wide)] += 1;  // beyond the ends: not drawn
    return counts.map((count, bin) => {
      const [low, high] = [bin, bin + 1].map(edge => this.y(-reach + edge * wide).toFixed(1));
      const far = foot + Math.min(1.12, 0.85 * count / paths.length / wide / this.#tallest) * (HEAD - 4);
      return `${counts[bin - 1] ? "" : `M${foot} ${low}`}${count ? `H${far.toFixed(1)}V${high}` : counts[bin - 1] ? `H${foot}` : ""}`;
    }).join("");
  }

  show({ paths, apart }) {
    if (!this.width) return;
    const { choice, parts } = this, { steps, chosen } = choice;
    place(parts["kit-paths"], { d: choice.drawn.map(i => this.#line(paths[i])).join("") });
    place(parts["kit-ends"], { d: this.#ends(paths) });
    place(parts["kit-bold-exact"], { d: this.#line(choice.exact[chosen]) });
    place(parts["kit-bold"], { d: this.#line(paths[chosen]) });
    const levels = Array.from({ length: steps + 1 }, (_, i) => this.x(i / steps));
    place(parts["kit-levels"], { d: steps > 16 ? "" : levels.map(x => `M${x.toFixed(1)} ${this.y(choice.reach) + 4}V${this.y(-choice.reach) - 4}`).join("") });
    this.dots.replaceChildren(...paths[chosen].map((value, i) => drawn("circle", { r: steps > 16 ? 2 : 3.5, cx: this.x(1 - i / steps), cy: this.y(value) })));
    say(this.apart, apart ? apart.toPrecision(3) : "0");
    const end = paths[chosen].at(-1), exact = choice.exact[chosen].at(-1);
    place(this.svg, { "aria-label": `${this.name}, ${steps} steps: from ${fixed(choice.starts[chosen])} it ends at ${fixed(end)}, the exact flow at ${fixed(exact)}` });
  }

  // The start whose exact path passes nearest to the pointer.
  #near(event, kept = false) {
    const { choice } = this, box = this.svg.getBoundingClientRect(), scale = this.width / box.width;
    const t = clamp(1 - ((event.clientX - box.left) * scale - HEAD) / (this.width - 2 * HEAD), 0, 1);
    const value = choice.reach * (1 - 2 * (event.clientY - box.top) / box.height), at = Math.round((1 - t) * TEACHER);
    const away = i => Math.abs(choice.exact[i][at] - value);
    choice.set({ start: Math.floor(choice.drawn.reduce((best, i) => away(i) < away(best) ? i : best) / EVERY) });
    if (kept) choice.commit();
  }
}

class View {
  constructor(model, choice, root, signal) {
    Object.assign(this, { model, choice, root, signal });
    this.paint = debounceFrame(() => this.#show());
    this.#build();
    choice.join(() => this.paint(), signal);
    const observer = new ResizeObserver(() => this.#resize());
    observer.observe(root);
    signal.addEventListener("abort", () => { observer.disconnect(); this.paint.cancel(); });
  }

  #build() {
    const { model, choice, signal } = this;
    this.ddim = new Pane(choice, "DDIM", "kit-ddim", signal);
    this.student = new Pane(choice, "A student that loses nothing", "kit-student", signal);
    this.dial = this.#steps();
    this.pick = new Dial(choice, "Start", signal);
    const last = choice.drawn.length - 1;
    this.pick.turn("start", {}, { low: 0, high: last, step: 1, origin: 0, marks: [], share: k => k / last, value: share => share * last });
    this.read = element("span", { className: "kit-read", "aria-live": "polite" });
    this.card = element("div", { className: "kit-card" },
      element("header", {}, element("span", { className: "kit-title" }, model.get("title")),
        element("span", { className: "kit-state" }, "grey: the exact flow, 256 steps of the teacher")),
      element("div", { className: "kit-panes" }, this.ddim.node, this.student.node),
      element("div", { className: "kit-row" }, element("span", {}, "Steps ", element("i", {}, "N")), this.dial.node),
      element("div", { className: "kit-note" }, "under each N: W1 of DDIM’s ends to the exact ones; the student’s is 0, for its jumps land on the exact path"),
      element("div", { className: "kit-row kit-pick" }, element("span", {}, "Start"), this.pick.node), this.read);
    this.root.append(this.card);
  }

  #steps() {
    const { choice } = this, marks = Array.from({ length: LAST + 1 }, (_, k) => 2 ** k);
    const words = Object.fromEntries(marks.map(steps => [steps, choice.ddim[steps].apart.toPrecision(2)]));
    const dial = new Dial(choice, "Steps N", this.signal);
    dial.turn("steps", words, { low: 1, high: 2 ** LAST, step: 1, origin: 1, marks,
      share: steps => Math.log2(steps) / LAST, value: share => 2 ** Math.round(share * LAST) });
    return dial;
  }

  #resize() {
    const width = Math.min(1068, this.root.clientWidth - 2 * GAP);
    if (width <= 0) return;
    const beside = width >= 760, pane = beside ? (width - 24) / 2 : width;
    this.card.style.width = `${width}px`;
    this.card.dataset.beside = beside;
    for (const each of [this.ddim, this.student]) each.resize(Math.floor(pane), beside ? 300 : 230);
    this.#show();
  }

  #show() {
    const { choice } = this, { steps, chosen } = choice, s = steps === 1 ? "" : "s";
    this.ddim.show(choice.ddim[steps]);
    this.student.show(choice.student);
    say(this.ddim.title, `DDIM, ${steps} step${s}`);
    say(this.student.title, `A student that loses nothing, ${steps} step${s}`);
    this.dial.show([], `${steps} step${s}, W1 ${choice.ddim[steps].apart.toPrecision(3)}`);
    this.pick.show([], `x = ${fixed(choice.starts[chosen])}`);
    say(this.read, `From x = ${fixed(choice.starts[chosen])} at t = 1: DDIM ends at ${fixed(choice.ddim[steps].paths[chosen].at(-1))}, the student and the exact flow at ${fixed(choice.exact[chosen].at(-1))}.`);
    choice.clock.painted();
  }
}

export default () => asWidget("kit-phase", (model, root, signal, choice) => new View(model, choice, root, signal),
  model => new Choice(model));
