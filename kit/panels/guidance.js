// The guidance slider: u and c are combined and decoded here, and nothing is asked of the kernel while a hand moves.

const GAP = 16, NARROWEST = 150, KNEE = 0.36, PATIENCE = 3000, KEPT = 16;
const LENGTHS = ["t_norm", "full_norm"];
const CHOICES = ["variant", "w", "g", "phi", "interval", "with_negative", "at"];

// What a slider's place means. Below w = 2 most changes fast, so a third of the slider is given to it.
const SCALES = {
  w: { low: -2, high: 20, step: 0.1, origin: 1, marks: [-2, -1, 0, 1, 2, 5, 10, 15, 20],
    share: w => w <= 2 ? (w + 2) / 4 * KNEE : KNEE + (w - 2) / 18 * (1 - KNEE),
    value: share => share <= KNEE ? share / KNEE * 4 - 2 : 2 + (share - KNEE) / (1 - KNEE) * 18 },
  g: { low: 0, high: 1, step: 0.01, origin: 0, marks: [0, 0.2, 0.4, 0.6, 0.8, 1],
    share: g => g, value: share => share },
  phi: { low: 0, high: 1, step: 0.01, origin: 0, marks: [0, 0.5, 1], share: phi => phi, value: share => share },
};

const VARIANTS = {
  none: { name: "none", title: "u + w (c − u)" },
  pred_norm: { name: "pred_norm", title: "u + w (c − u), its direction kept, its length made that of u" },
  t_norm: { name: "t_norm", title: "u + g ‖u‖ (c − u) / ‖c − u‖: an update whose length is a share g of that of u" },
  full_norm: { name: "full_norm", title: "t_norm, its direction kept, its length made that of u" },
  std: { name: "std", title: "u + w (c − u), a share φ of it rescaled to the spread of c (2305.08891)" },
};

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const rounded = (value, step) => Number((Math.round(value / step) * step).toFixed(3));
const minus = text => String(text).replaceAll("-", "−");
const fixed = (value, digits = 2) => Number.isFinite(value)
  ? minus((Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value).toFixed(digits)) : "–";
const brief = value => minus(rounded(value, 0.001));

// --- the mathematics

const total = (count, term) => {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += term(i);
  return sum;
};

// What every rescaling needs of u and d = c − u: their products, and the same about their means.
function products(u, c) {
  const n = u.length, d = i => c[i] - u[i];
  const meanU = total(n, i => u[i]) / n, meanD = total(n, d) / n;
  return {
    uu: total(n, i => u[i] * u[i]), ud: total(n, i => u[i] * d(i)), dd: total(n, i => d(i) * d(i)),
    cc: total(n, i => c[i] * c[i]), uc: total(n, i => u[i] * c[i]),
    vuu: total(n, i => (u[i] - meanU) ** 2), vud: total(n, i => (u[i] - meanU) * (d(i) - meanD)),
    vdd: total(n, i => (d(i) - meanD) ** 2),
  };
}

const norm = ({ uu, ud, dd }, v) => Math.sqrt(Math.max(0, uu + 2 * v * ud + v * v * dd));
const spread = ({ vuu, vud, vdd }, v) => Math.sqrt(Math.max(0, vuu + 2 * v * vud + v * v * vdd));
const ratio = (wanted, has) => has > 0 ? wanted / has : 1;

// Every guided prediction is k (u + v d): gives [k, v] of a rescaling.
function effect(variant, dial, phi, made) {
  const v = LENGTHS.includes(variant) ? dial * ratio(Math.sqrt(made.uu), Math.sqrt(made.dd)) : dial;
  if (variant === "pred_norm" || variant === "full_norm") return [ratio(Math.sqrt(made.uu), norm(made, v)), v];
  if (variant === "std") return [phi * ratio(spread(made, 1), spread(made, v)) + 1 - phi, v];
  return [1, v];
}

// x0-hat is linear in x, u and d, and so is the decoder: three pictures, of bytes' size, to be summed.
class Predictions {
  #stops = new Map();

  constructor(model) {
    const { names, blob } = model.get("_operands"), [n, channels, h, w] = model.get("shape");
    const floats = new Float32Array(blob.buffer.slice(blob.byteOffset, blob.byteOffset + blob.byteLength));
    const size = channels * h * w;
    Object.assign(this, { model, channels, w, h, names });
    this.of = (name, stop) => {
      const start = (names.indexOf(name) * n + stop) * size;
      return floats.subarray(start, start + size);
    };
  }

  at(stop) {
    if (!this.#stops.has(stop)) this.#stops.set(stop, this.#made(stop));
    return this.#stops.get(stop);
  }

  #made(stop) {
    const alphaBar = this.model.get("alpha_bar")[stop], [, bias] = this.model.get("rgb");
    const [x, c] = [this.of("x", stop), this.of("c", stop)];
    const sigma = Math.sqrt((1 - alphaBar) / alphaBar);
    const sides = this.names.filter(name => name === "u" || name === "negative").map(name => {
      const u = this.of(name, stop), d = u.map((value, i) => c[i] - value);
      return { ...products(u, c), U: this.#picture(u, -sigma), D: this.#picture(d, -sigma) };
    });
    return { base: this.#picture(x, 1 / Math.sqrt(alphaBar), bias), sides };
  }

  // 255 (factor matrix · values + bias), pixel by pixel.
  #picture(values, factor, bias = [0, 0, 0]) {
    const [matrix] = this.model.get("rgb"), pixels = this.w * this.h, made = new Float32Array(3 * pixels);
    for (let r = 0; r < 3; r++) {
      for (let p = 0; p < pixels; p++) made[3 * p + r] = 255 * bias[r];
      for (let channel = 0; channel < this.channels; channel++) {
        const weight = 255 * factor * matrix[r][channel], start = channel * pixels;
        for (let p = 0; p < pixels; p++) made[3 * p + r] += weight * values[start + p];
      }
    }
    return made;
  }
}

// Writes base + k U + k v D into the bytes of an image; gives the share of pixels outside the colours there are.
function compose(data, base, { U, D }, k, v) {
  const pixels = base.length / 3, kv = k * v;
  let clipped = 0;
  for (let p = 0, i = 0, o = 0; p < pixels; p++, i += 3, o += 4) {
    const r = base[i] + k * U[i] + kv * D[i], g = base[i + 1] + k * U[i + 1] + kv * D[i + 1];
    const b = base[i + 2] + k * U[i + 2] + kv * D[i + 2];
    data[o] = r; data[o + 1] = g; data[o + 2] = b; data[o + 3] = 255;
    if (r < 0 || g < 0 || b < 0 || r > 255 || g > 255 || b > 255) clipped++;
  }
  return clipped / pixels;
}

// --- finished samples

const without = ([variant, , ...others]) => JSON.stringify([variant, ...others]);

class Samples {
  #rows = [];
  #decoded = [];

  constructor(arrived) { this.arrived = arrived; }

  load({ table, blob }) {
    let start = blob.byteOffset;
    for (const [key, length, rerun] of table) {
      this.add(key, new Uint8Array(blob.buffer, start, length), rerun);
      start += length;
    }
  }

  add(key, bytes, rerun) {
    this.#rows = this.#rows.filter(row => JSON.stringify(row.key) !== JSON.stringify(key));
    this.#rows.push({ key, rerun, data: new Blob([bytes]) });
    this.arrived();
  }

  alike(key) { return this.#rows.filter(row => without(row.key) === without(key)); }

  nearest(key) {
    const away = row => Math.abs(row.key[1] - key[1]);
    return this.alike(key).reduce((best, row) => best && away(best) <= away(row) ? best : row, undefined);
  }

  // The bitmap of a row, or undefined until it is decoded.
  bitmap(row) {
    if (!row.asked) this.#decode(row);
    return row.bitmap;
  }

  async #decode(row) {
    row.asked = true;
    row.bitmap = await createImageBitmap(row.data).catch(() => undefined);
    this.#decoded.push(row);
    while (this.#decoded.length > KEPT) this.#forget(this.#decoded.shift());
    this.arrived();
  }

  #forget(row) {
    row.bitmap?.close();
    row.asked = row.bitmap = undefined;
  }

  close() { for (const row of this.#decoded.splice(0)) this.#forget(row); }
}

// --- what all views of a model share

class Choice {
  #views = new Set();
  #turn = 0;
  held = false;
  running = null;  // {key, step, bitmap} of the re-run under way
  expected = 0;    // steps of the last one that ended
  asked = 0;       // when a re-run was wished for that has not begun

  constructor(model) {
    this.model = model;
    this.predictions = new Predictions(model);
    this.samples = new Samples(() => this.tell());
    this.samples.load(model.get("_samples"));
    this.clock = new Clock();
    for (const name of CHOICES) {
      this[name] = model.get(name);
      model.on(`change:${name}`, () => { if (!this.held) this.set({ [name]: model.get(name) }); });
    }
    model.on("change:_samples", () => this.samples.load(model.get("_samples")));
    model.on("change:status", () => { this.asked = 0; this.#status(); });
    model.on("msg:custom", (message, buffers) => this.#hear(message, buffers ?? []));
  }

  join(view, signal) {
    this.#views.add(view);
    signal.addEventListener("abort", () => this.#views.delete(view));
  }

  tell() { for (const view of this.#views) view(); }

  set(changes) {
    Object.assign(this, changes);
    this.tell();
  }

  get dialName() { return LENGTHS.includes(this.variant) ? "g" : "w"; }
  get dial() { return this[this.dialName]; }
  get t() { return this.model.get("t")[this.at]; }
  get key() {
    const { variant, dial, phi, interval, with_negative } = this;
    return [variant, dial, variant === "std" ? phi : null, interval.length ? interval : null, with_negative];
  }

  acts(t) {
    const [low, high] = this.interval;
    return low === undefined || (low <= t && t <= high);
  }

  // [k, v] of one side's prediction at the step shown; where guidance does not act, those of c.
  effect(made) { return this.acts(this.t) ? effect(this.variant, this.dial, this.phi, made) : [1, 1]; }

  // The finished sample nearest to what is chosen, and whether it is exactly that.
  get nearest() {
    const row = this.samples.nearest(this.key);
    return { row, exact: row !== undefined && row.key[1] === this.dial };
  }

  commit() {
    const { model } = this, changed = CHOICES.filter(name => model.get(name) !== this[name]);
    if (!changed.length) return;
    for (const name of changed) model.set(name, this[name]);
    model.set("_timing", this.clock.summary());
    model.save_changes();
    if (changed.some(name => name !== "at")) this.#await();
  }

  run() {
    this.model.send({ kind: "run" });
    this.#await();
  }

  #await() {
    if (!this.model.get("runs") || this.nearest.exact) { this.asked = 0; return this.tell(); }
    this.asked = performance.now();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tell(), PATIENCE + 50);
    this.tell();
  }

  #status() {
    if (this.model.get("status") !== "running") this.#drop();
    this.tell();
  }

  #hear(message, [buffer]) {
    if (message.kind !== "step" && message.kind !== "sample") return;
    const { buffer: all, byteOffset, byteLength } = buffer ?? Uint8Array.from(atob(message.base64), c => c.charCodeAt(0));
    const bytes = new Uint8Array(all, byteOffset, byteLength);
    if (message.kind === "step") return this.#step(message, bytes);
    this.expected = this.running?.step ?? 0;
    this.samples.add(message.key, bytes, true);
  }

  // The picture before stays until this one is decoded; one that took longer than a later one is dropped.
  async #step({ key, step }, bytes) {
    const turn = ++this.#turn;
    this.running = { ...this.running, key, step };
    const bitmap = await createImageBitmap(new Blob([bytes])).catch(() => undefined);
    if (!this.running || turn < this.running.turn) return bitmap?.close();
    this.running.bitmap?.close();
    Object.assign(this.running, { bitmap, turn });
    this.tell();
  }

  #drop() {
    this.running?.bitmap?.close();
    this.running = null;
  }

  close() {
    clearTimeout(this.timer);
    this.#drop();
    this.samples.close();
    this.clock.close();
  }
}

// --- parts of the page

function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  place(made, attributes);
  made.append(...children);
  return made;
}

function place(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
}

const percent = share => `${100 * share}%`;

// The side, made so that each of a latent's pixels has as many of the screen's, if that costs little of it.
function wholePixels(side, pixel) {
  const whole = Math.floor(side / pixel) * pixel;
  return whole >= 0.93 * side ? whole : side;
}

const strides = ({ shiftKey, altKey }, step) => step * (shiftKey ? 10 : altKey ? 0.1 : 1);

// A slider for one number of the choice. Its name may change (w or g), and its scale with it.
class Dial {
  #anchor = null;

  constructor(choice, label, paint, signal) {
    Object.assign(this, { choice, paint });
    this.fill = element("div", { className: "kit-fill" });
    this.knob = element("div", { className: "kit-knob" });
    this.marks = element("div", { className: "kit-scale" });
    this.found = element("div", { className: "kit-found" });
    this.node = element("div", { className: "kit-dial", tabIndex: 0, role: "slider", "aria-label": label },
      element("div", { className: "kit-groove" }), this.fill, this.found, this.knob, this.marks);
    const on = (type, hear) => this.node.addEventListener(type, hear, { signal });
    on("pointerdown", event => this.#press(event));
    on("pointermove", event => this.#drag(event));
    on("pointerup", () => this.#release());
    on("pointercancel", () => this.#release());
    on("keydown", event => this.#key(event));
    on("keyup", event => { if (this.#target(event) !== undefined) choice.commit(); });
    on("blur", () => { if (!choice.held) choice.commit(); });
    signal.addEventListener("abort", () => { if (this.#anchor) choice.held = false; });
  }

  turn(name, words = {}) {
    if (this.name === name) return;
    Object.assign(this, { name, scale: SCALES[name], shownFound: null });
    const { low, high, marks, share } = this.scale;
    place(this.node, { "aria-valuemin": low, "aria-valuemax": high });
    this.marks.replaceChildren(...marks.map(mark => {
      const word = words[mark] ? [element("em", {}, words[mark])] : [];
      const tick = element("i", {}, element("span", {}, minus(mark)), ...word);
      tick.style.left = percent(share(mark));
      return tick;
    }));
  }

  show(found = []) {
    const { share, origin } = this.scale, value = this.choice[this.name];
    const [from, to] = [share(origin), share(value)];
    this.knob.style.left = percent(to);
    Object.assign(this.fill.style, { left: percent(Math.min(from, to)), width: percent(Math.abs(to - from)) });
    place(this.node, { "aria-valuenow": value, "aria-valuetext": `${this.name} ${brief(value)}` });
    const wanted = JSON.stringify(found);
    if (this.shownFound === wanted) return;
    this.shownFound = wanted;
    this.places = found;
    this.found.replaceChildren(...found.map(at => {
      const tick = element("i", { title: `a finished sample at ${this.name} = ${brief(at)}` });
      tick.style.left = percent(share(at));
      return tick;
    }));
  }

  set(value, event) {
    const { low, high } = this.scale;
    if (event) this.choice.clock.input(event);
    this.choice.set({ [this.name]: clamp(value, low, high) });
  }

  #share(event) {
    const box = this.node.getBoundingClientRect();
    return clamp((event.clientX - box.left) / box.width, 0, 1);
  }

  // A press near the tick of a finished sample means that sample.
  #press(event) {
    if (event.button) return;
    this.node.setPointerCapture(event.pointerId);
    this.choice.held = true;
    const at = this.#share(event), width = this.node.clientWidth, { share } = this.scale;
    const near = this.places?.find(place => Math.abs(share(place) - at) * width < 4);
    this.#anchor = { at, value: near ?? this.choice[this.name], fine: event.altKey };
    this.set(near ?? (event.altKey ? this.choice[this.name] : this.#valueAt(at, event)), event);
  }

  #drag(event) {
    if (!this.#anchor) return;
    const at = this.#share(event);
    if (event.altKey !== this.#anchor.fine) this.#anchor = { at, value: this.choice[this.name], fine: event.altKey };
    const value = this.#valueAt(at, event);
    if (value !== this.choice[this.name]) this.set(value, event);
  }

  // With Alt the knob goes a tenth of the pointer's way.
  #valueAt(at, event) {
    const { share, value, step, low, high } = this.scale, { at: start = at, value: from = 0 } = this.#anchor ?? {};
    const slow = event.altKey ? share(from) + (at - start) / 10 : at;
    return clamp(rounded(value(clamp(slow, 0, 1)), strides(event, step)), low, high);
  }

  #release() {
    if (!this.#anchor) return;
    this.#anchor = null;
    this.choice.held = false;
    this.choice.commit();
  }

  #target(event) {
    const { low, high, step } = this.scale, value = this.choice[this.name], stride = strides(event, step);
    return { ArrowLeft: value - stride, ArrowDown: value - stride, ArrowRight: value + stride, ArrowUp: value + stride,
      PageDown: value - 10 * step, PageUp: value + 10 * step, Home: low, End: high }[event.key];
  }

  #key(event) {
    const target = this.#target(event);
    if (event.ctrlKey || event.metaKey || target === undefined) return;
    event.preventDefault();
    this.set(rounded(target, this.scale.step / 10), event);
  }
}

// A number that is typed; what is no number in the range is said in words.
function typed(label, low, high, hear, signal) {
  const input = element("input", { type: "text", inputMode: "decimal", "aria-label": label, tabIndex: 0, size: 5 });
  const read = () => {
    const text = input.value.trim().replaceAll("−", "-").replace(",", ".");
    const value = text === "" ? NaN : Number(text);
    const good = value >= low && value <= high;
    hear(good ? value : null, `${label}: got ${input.value.trim() || "nothing"}, wanted a number from ${minus(low)} to ${minus(high)}`);
    return good;
  };
  input.addEventListener("change", read, { signal });
  input.addEventListener("keydown", event => { if (event.key === "Enter") read(); }, { signal });
  return input;
}

// w over t: a rectangle of guidance, its height w and its width the interval; below it, the step that is shown.
class Pad {
  #mode = null;

  constructor(choice, signal) {
    this.choice = choice;
    this.T = choice.model.get("T");
    this.t = choice.model.get("t");
    this.#build();
    const on = (node, type, hear) => node.addEventListener(type, hear, { signal });
    on(this.plot, "pointerdown", event => this.#press(event));
    on(this.plot, "pointermove", event => this.#point(event));
    on(this.axis, "pointerdown", event => this.#pressAxis(event));
    on(this.axis, "pointermove", event => { if (this.#mode === "at") this.#scrub(event); });
    for (const node of [this.plot, this.axis]) {
      on(node, "pointerup", () => this.#release());
      on(node, "pointercancel", () => this.#release());
    }
    on(this.high, "keydown", event => this.#key(event, 1));
    on(this.low, "keydown", event => this.#key(event, 0));
    on(this.head, "keydown", event => this.#keyAxis(event));
    for (const node of [this.high, this.low, this.head]) {
      on(node, "keyup", () => choice.commit());
      on(node, "blur", () => { if (!choice.held) choice.commit(); });
    }
    on(this.all, "click", () => { choice.set({ interval: [] }); choice.commit(); });
    signal.addEventListener("abort", () => { if (this.#mode) choice.held = false; });
  }

  #build() {
    const last = this.T - 1, handle = (name, label) => element("div", { className: `kit-edge kit-${name}`, tabIndex: 0,
      role: "slider", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": last });
    this.high = handle("high", "Guidance begins at t");
    this.low = handle("low", "Guidance ends at t");
    this.area = drawn("rect", { class: "kit-area" });
    this.line = drawn("line", { class: "kit-origin", x1: 0, x2: "100%" });
    this.now = drawn("line", { class: "kit-now", y1: 0, y2: "100%" });
    this.grid = drawn("g", { class: "kit-grid" });
    this.stems = this.t.map(t => drawn("line", { class: "kit-stem", x1: percent(this.x(t)), x2: percent(this.x(t)) }));
    this.levels = element("div", { className: "kit-levels" });
    this.corner = element("span", { className: "kit-corner kit-top" });
    this.hint = element("span", { className: "kit-corner kit-hint" }, "drag a rectangle");
    this.plot = element("div", { className: "kit-plot" },
      drawn("svg", { "aria-hidden": "true" }, this.grid, this.area, ...this.stems, this.line, this.now),
      this.levels, element("span", { className: "kit-corner" }, "t"), this.corner, this.hint, this.high, this.low);
    this.head = element("div", { className: "kit-head", tabIndex: this.t.length > 1 ? 0 : -1, role: "slider",
      "aria-label": "Step shown", "aria-valuemin": 0, "aria-valuemax": this.t.length - 1 });
    this.axis = element("div", { className: "kit-axis" }, this.head, ...this.#times());
    this.title = element("span", {});
    this.all = element("button", { type: "button", className: "kit-button" }, "all t");
    this.node = element("section", { className: "kit-pad" },
      element("h4", {}, this.title, this.all), this.plot, this.axis);
  }

  #times() {
    const last = this.T - 1;
    return [last, Math.round(last * 0.75), Math.round(last / 2), Math.round(last / 4), 0].map(t => {
      const tick = element("i", {}, element("span", {}, String(t)));
      tick.style.left = percent(this.x(t));
      return tick;
    });
  }

  x(t) { return 1 - t / (this.T - 1); }

  show() {
    const { choice } = this, scale = SCALES[choice.dialName], { interval, at } = choice;
    const [low, high] = interval.length ? interval : [0, this.T - 1];
    const y = value => 1 - scale.share(value), [top, bottom] = [y(choice.dial), y(scale.origin)].sort((a, b) => a - b);
    if (this.scale !== scale) this.#levels(scale, y);
    place(this.area, { x: percent(this.x(high)), width: percent(this.x(low) - this.x(high)), y: percent(top), height: percent(bottom - top) });
    place(this.line, { y1: percent(y(scale.origin)), y2: percent(y(scale.origin)) });
    this.stems.forEach((stem, i) => place(stem, { y1: percent(y(scale.origin)), y2: percent(choice.acts(this.t[i]) ? y(choice.dial) : y(scale.origin)) }));
    const now = percent(this.x(this.t[at]));
    place(this.now, { x1: now, x2: now });
    this.head.style.left = now;
    this.high.style.left = percent(this.x(high));
    this.low.style.left = percent(this.x(low));
    for (const [node, t] of [[this.high, high], [this.low, low]]) place(node, { "aria-valuenow": t, "aria-valuetext": `t ${t}` });
    place(this.head, { "aria-valuenow": at, "aria-valuetext": `t ${this.t[at]}` });
    this.title.textContent = interval.length ? `Guidance acts for t from ${high} to ${low}` : "Guidance acts at all t";
    this.hint.hidden = interval.length > 0 || this.T < 2;
    this.all.style.visibility = interval.length ? "visible" : "hidden";
  }

  #levels(scale, y) {
    this.scale = scale;
    this.corner.textContent = this.choice.dialName;
    const marks = scale === SCALES.w ? [0, 1, 5, 10, 20] : [0, 0.5, 1];
    this.levels.replaceChildren(...marks.map(mark => {
      const level = element("span", {}, minus(mark));
      level.style.top = percent(y(mark));
      return level;
    }));
    this.grid.replaceChildren(...marks.map(mark => drawn("line", { x1: 0, x2: "100%", y1: percent(y(mark)), y2: percent(y(mark)) })));
  }

  // --- the hand

  #place(event) {
    const box = this.plot.getBoundingClientRect(), scale = SCALES[this.choice.dialName];
    const x = clamp((event.clientX - box.left) / box.width, 0, 1), y = clamp((event.clientY - box.top) / box.height, 0, 1);
    return { t: Math.round((1 - x) * (this.T - 1)), dial: rounded(scale.value(1 - y), scale.step),
      px: event.clientX - box.left, py: event.clientY - box.top, box, scale };
  }

  #modeAt({ px, py, box, scale }) {
    const [low, high] = this.choice.interval.length ? this.choice.interval : [0, this.T - 1];
    const [left, right] = [this.x(high) * box.width, this.x(low) * box.width];
    if (Math.abs(px - left) < 8) return "high";
    if (Math.abs(px - right) < 8) return "low";
    const top = (1 - scale.share(this.choice.dial)) * box.height;
    return px > left && px < right && Math.abs(py - top) < 7 ? "dial" : "new";
  }

  #press(event) {
    if (event.button) return;
    const place = this.#place(event);
    this.#mode = this.#modeAt(place);
    this.start = place;
    this.plot.setPointerCapture(event.pointerId);
    this.choice.held = true;
  }

  #point(event) {
    const place = this.#place(event), { choice } = this;
    if (!this.#mode || this.#mode === "at") { this.plot.dataset.mode = this.#modeAt(place); return; }
    choice.clock.input(event);
    const [low, high] = choice.interval.length ? choice.interval : [0, this.T - 1];
    if (this.#mode === "dial") choice.set({ [choice.dialName]: place.dial });
    if (this.#mode === "high") this.#limit(low, Math.max(low, place.t));
    if (this.#mode === "low") this.#limit(Math.min(high, place.t), high);
    if (this.#mode === "new" && Math.abs(place.px - this.start.px) > 4) {
      choice.set({ [choice.dialName]: place.dial });
      this.#limit(...[this.start.t, place.t].sort((a, b) => a - b));
    }
  }

  #limit(low, high) {
    this.choice.set({ interval: low === 0 && high === this.T - 1 ? [] : [low, high] });
  }

  #pressAxis(event) {
    if (event.button || this.t.length < 2) return;
    this.axis.setPointerCapture(event.pointerId);
    this.choice.held = true;
    this.#mode = "at";
    this.#scrub(event);
  }

  #scrub(event) {
    const { t } = this.#place(event), away = i => Math.abs(this.t[i] - t);
    const at = this.t.reduce((best, _, i) => away(i) < away(best) ? i : best, 0);
    if (at === this.choice.at) return;
    this.choice.clock.input(event);
    this.choice.set({ at });
  }

  #release() {
    if (!this.#mode) return;
    this.#mode = null;
    this.choice.held = false;
    this.choice.commit();
  }

  #key(event, side) {
    const toLeft = { ArrowLeft: 1, ArrowUp: 1, ArrowRight: -1, ArrowDown: -1 }[event.key];
    if (event.ctrlKey || event.metaKey || !toLeft) return;
    event.preventDefault();
    const limits = this.choice.interval.length ? [...this.choice.interval] : [0, this.T - 1];
    limits[side] = clamp(limits[side] + toLeft * strides(event, 10), side ? limits[0] : 0, side ? this.T - 1 : limits[1]);
    this.choice.clock.input(event);
    this.#limit(...limits);
  }

  #keyAxis(event) {
    const { at } = this.choice, last = this.t.length - 1;
    const target = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, Home: 0, End: last }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || target === undefined) return;
    event.preventDefault();
    this.choice.clock.input(event);
    this.choice.set({ at: clamp(target, 0, last) });
  }
}

// u, c and the guided prediction as arrows in the plane they lie in; angles and lengths are true.
class Plane {
  static width = 260;
  static height = 150;

  constructor() {
    const arrow = name => drawn("line", { class: `kit-arrow kit-${name}` });
    this.arc = drawn("path", { class: "kit-arc" });
    this.ray = drawn("line", { class: "kit-ray" });
    this.arrows = { u: arrow("u"), c: arrow("c"), guided: arrow("guided") };
    this.tip = drawn("circle", { class: "kit-tip", r: 4.5 });
    this.names = { u: drawn("text", {}, "u"), c: drawn("text", {}, "c") };
    this.words = { guided: drawn("text", { class: "kit-word", "text-anchor": "end" }, "guided"), arc: drawn("text", { class: "kit-word", "text-anchor": "end" }, "as long as u") };
    this.title = element("span", {}, "Lengths and angles, true to scale");
    this.node = element("section", { className: "kit-plane" }, element("h4", {}, this.title),
      drawn("svg", { viewBox: `0 0 ${Plane.width} ${Plane.height}`, role: "img",
        "aria-label": "u, c and the guided prediction as arrows in their plane; the arc has the length of u" },
      this.arc, this.ray, ...Object.values(this.arrows), this.tip, ...Object.values(this.names), ...Object.values(this.words)));
  }

  show(made, variant, [k, v]) {
    const u = Math.sqrt(made.uu), along = u > 0 ? made.ud / u : 0;
    const across = Math.sqrt(Math.max(0, made.dd - along * along));
    const scale = SCALES[LENGTHS.includes(variant) ? "g" : "w"];
    const end = dial => effect(LENGTHS.includes(variant) ? "t_norm" : "none", dial, 0, made)[1];
    const [first, last] = [end(scale.low), end(scale.high)];
    const box = this.#box(u, [first, last].map(at => [u + at * along, at * across]));
    const to = (a, b) => [box.left + a * box.unit, box.base - b * box.unit];
    const line = (node, [x1, y1], [x2, y2]) => place(node, { x1, y1, x2, y2 });
    const point = (at, by = 1) => to(by * (u + at * along), by * at * across);
    line(this.ray, point(first), point(last));
    for (const [name, at, by] of [["u", 0, 1], ["c", 1, 1], ["guided", v, k]]) line(this.arrows[name], to(0, 0), point(at, by));
    const [x, y] = point(v, k);
    place(this.tip, { cx: x, cy: y });
    const angles = [first, last].map(at => Math.atan2(at * across, u + at * along));
    const [from, toward] = angles.map(angle => to(u * Math.cos(angle), u * Math.sin(angle)));
    place(this.arc, { d: `M ${from} A ${u * box.unit} ${u * box.unit} 0 0 0 ${toward}` });
    const [ux, uy] = point(0), [cx, cy] = point(1);
    place(this.words.guided, { x: x - 12, y: y - 9 });
    place(this.words.arc, { x: toward[0] - 6, y: Math.max(10, toward[1] + 2) });
    place(this.names.u, { x: ux + 7, y: uy + 12 });
    place(this.names.c, { x: cx + 7, y: cy - 3 });
  }

  #box(u, ends) {
    const pad = 16, right = Math.max(u, ...ends.map(([x]) => x), 1e-9), ys = ends.map(([, y]) => y);
    const [low, high] = [Math.min(0, ...ys), Math.max(0, ...ys)];
    const unit = Math.min((Plane.width - 2 * pad - 8) / right, (Plane.height - 2 * pad) / Math.max(high - low, 1e-9));
    const left = (Plane.width - right * unit) / 2;
    return { unit, left, base: (Plane.height + (high + low) * unit) / 2 };
  }
}

const ROWS = [
  ["‖u‖", "length of u, the square root of the sum of its squares", ({ made }) => fixed(norm(made, 0))],
  ["‖c‖", "length of c", ({ made }) => fixed(norm(made, 1))],
  ["‖c − u‖", "length of the difference", ({ made }) => fixed(Math.sqrt(made.dd))],
  ["‖guided‖", "length of the guided prediction", ({ made, k, v }) => fixed(Math.abs(k) * norm(made, v))],
  ["cos(u, c)", "cosine of the angle between u and c", ({ made }) => fixed(made.uc / Math.sqrt(made.uu * made.cc), 4)],
  ["cos(u, c − u)", "cosine of the angle between u and c − u", ({ made }) => fixed(made.ud / Math.sqrt(made.uu * made.dd), 4)],
  ["w in effect", "v of k (u + v (c − u)), which is the guided prediction", ({ v }) => fixed(v)],
  ["scale k", "k of k (u + v (c − u)), which is the guided prediction", ({ k }) => fixed(k, 4)],
  ["clipped pixels", "share of the preview's pixels with a colour outside [0, 1]", ({ clipped }) => `${fixed(100 * clipped, 1)} %`],
];

class View {
  #image;
  #sampled = null;

  constructor(model, choice, root, signal) {
    Object.assign(this, { model, choice, root, signal });
    this.paint = debounceFrame(() => this.#show());
    this.#build();
    choice.join(() => this.paint(), signal);
    this.#listen();
    const observer = new ResizeObserver(() => this.#resize());
    observer.observe(root);
    signal.addEventListener("abort", () => { observer.disconnect(); this.paint.cancel(); });
    this.#status();
  }

  // --- the page

  #build() {
    const { model, choice, signal } = this, negative = choice.predictions.names.includes("negative");
    this.sides = negative ? ["empty prompt", "negative prompt"] : [""];
    this.previews = this.sides.map(side => this.#figure("1", "One step, exact", side));
    this.sample = this.#figure("2", "Nearest finished sample");
    this.bar = element("div", { className: "kit-bar", hidden: true }, element("div", {}));
    this.sample.frame.append(this.bar);
    this.runButton = element("button", { type: "button", className: "kit-button kit-run" }, "Re-run");
    this.stop = element("button", { type: "button", className: "kit-button kit-stop" }, "Stop");
    this.state = element("span", { className: "kit-state", role: "status" });
    this.error = element("div", { className: "kit-error", role: "alert", hidden: true });
    this.wrong = element("div", { className: "kit-wrong", role: "alert" });
    this.dial = new Dial(choice, "Guidance", this.paint, signal);
    this.pad = new Pad(choice, signal);
    this.plane = new Plane();
    this.code = element("pre", { tabIndex: 0 });
    this.card = element("div", { className: "kit-card" },
      element("header", {}, element("span", { className: "kit-title" }, model.get("title")), this.state, this.runButton, this.stop),
      this.error,
      element("div", { className: "kit-pictures" }, ...[...this.previews, this.sample].map(({ figure }) => figure)),
      this.#numbers(), this.wrong, this.dial.node, this.#rescalings(),
      element("div", { className: "kit-parts" }, this.pad.node, this.plane.node, this.#readings()),
      element("details", { className: "kit-code" }, element("summary", { tabIndex: 0 }, "Python that makes these pictures"), this.code));
    this.root.append(this.card);
  }

  #figure(level, name, side = "") {
    const canvas = element("canvas", { role: "img", "aria-label": [name, side].filter(Boolean).join(", ") });
    const frame = element("div", { className: "kit-frame" }, canvas);
    const badge = element("b", {}, level), title = element("strong", {}, name), note = element("span", { className: "kit-said" });
    return { canvas, frame, badge, title, note, side,
      figure: element("figure", {}, frame, element("figcaption", {}, element("div", {}, badge, title), note)) };
  }

  #numbers() {
    const { choice, signal } = this;
    const hear = change => (value, wrong) => {
      this.wrong.textContent = value === null ? wrong : "";
      if (value === null) return;
      choice.set(change(value));
      choice.commit();
    };
    this.w = typed("w", -2, 20, hear(w => ({ w })), signal);
    this.paper = typed("w′", -3, 19, hear(w => ({ w: rounded(w + 1, 1e-3) })), signal);
    this.g = typed("g", 0, 1, hear(g => ({ g })), signal);
    this.ofW = element("div", { className: "kit-numbers" },
      element("label", {}, element("i", {}, "w"), this.w, element("span", {}, "u + w (c − u), as guidance_scale counts")),
      element("label", {}, element("i", {}, "w′"), this.paper, element("span", {}, "(1 + w′) c − w′ u, as the paper counts: w′ = w − 1")));
    this.acting = element("span", {});
    this.ofG = element("div", { className: "kit-numbers" },
      element("label", {}, element("i", {}, "g"), this.g, element("span", {}, "u + g ‖u‖ (c − u) / ‖c − u‖")), this.acting);
    return element("div", {}, this.ofW, this.ofG);
  }

  #rescalings() {
    const { choice, signal } = this;
    const choose = change => () => { choice.set(change); choice.commit(); };
    const button = (text, title, change) => {
      const made = element("button", { type: "button", className: "kit-button", title }, text);
      made.addEventListener("click", choose(change), { signal });
      return made;
    };
    this.variants = Object.entries(VARIANTS).map(([variant, { name, title }]) => [variant, button(name, title, { variant })]);
    this.phi = new Dial(choice, "Share of the rescaled prediction, φ", this.paint, signal);
    this.phi.turn("phi");
    this.phiValue = element("span", {});
    this.phiRow = element("div", { className: "kit-phi" }, this.phiValue, this.phi.node);
    const group = (label, ...nodes) => element("div", { className: "kit-group", role: "group", "aria-label": label }, element("span", {}, label), ...nodes);
    this.prompts = [["empty", false], ["negative", true]].map(([name, with_negative]) =>
      [with_negative, button(name, `The sample moves away from the ${name} prompt`, { with_negative })]);
    const prompts = group("Sample away from", ...this.prompts.map(([, node]) => node));
    prompts.hidden = this.sides.length === 1;
    this.formula = element("div", { className: "kit-formula" });
    return element("div", { className: "kit-settings" },
      group("Rescaling", ...this.variants.map(([, node]) => node)), this.phiRow, prompts, this.formula);
  }

  #readings() {
    this.where = element("span", {});
    const head = () => element("div", {}, element("span", {}), ...this.sides.map(side => element("span", {}, side.split(" ")[0])));
    const heads = this.sides.length > 1 ? [element("div", { className: "kit-columns", "aria-hidden": "true" }, head(), head())] : [];
    this.values = ROWS.map(() => this.sides.map(() => element("dd", {})));
    const rows = ROWS.map(([name, title], row) => element("div", { title }, element("dt", {}, name), ...this.values[row]));
    return element("section", { className: "kit-measures" }, element("h4", {}, this.where), ...heads, element("dl", {}, ...rows));
  }

  #resize() {
    const width = this.root.clientWidth - 2 * GAP;
    if (width <= 0) return;
    const count = this.previews.length + 1;
    const columns = clamp(Math.floor((width + GAP) / (NARROWEST + GAP)), 1, count);
    const room = Math.floor((width - GAP * (columns - 1)) / columns);
    const { w, h } = this.choice.predictions, bitmap = this.#sampled;
    const native = Math.max(w, h, bitmap?.width ?? 0, bitmap?.height ?? 0);
    const side = wholePixels(Math.min(room, clamp(native, 384, 512)), Math.max(w, h) / devicePixelRatio);
    const card = Math.min(width, Math.max(columns * side + (columns - 1) * GAP, 720));
    this.card.style.width = `${card}px`;
    this.card.classList.toggle("kit-small", side < 230);
    this.card.dataset.parts = card >= 700 ? 3 : card >= 480 ? 2 : 1;
    for (const { frame, figure } of [...this.previews, this.sample]) {
      figure.style.width = `${side}px`;
      Object.assign(frame.style, { width: `${side * w / Math.max(w, h)}px`, height: `${side * h / Math.max(w, h)}px` });
    }
    for (const { canvas } of this.previews) {
      canvas.width = w;
      canvas.height = h;
      canvas.classList.toggle("kit-pixelated", Math.max(w, h) <= 64);
    }
    this.#image = new ImageData(w, h);
    const words = card >= 520 ? ["unconditional", "conditional"] : ["u", "c"];
    this.words = { 0: words[0], 1: words[1] };
    this.dial.name = undefined;
    this.#show();
  }

  #status() {
    const status = this.model.get("status"), error = this.model.get("error"), trace = this.model.get("traceback");
    this.card.dataset.status = status;
    this.stop.hidden = status !== "running";
    this.error.hidden = !error;
    const more = trace ? [element("details", {},
      element("summary", { tabIndex: 0 }, "Traceback"), element("pre", { tabIndex: 0 }, trace))] : [];
    this.error.replaceChildren(element("strong", {}, error), ...more);
    this.paint();
  }

  #listen() {
    const { model, signal } = this;
    this.stop.addEventListener("click", () => model.send({ kind: "stop" }), { signal });
    this.runButton.addEventListener("click", () => this.choice.run(), { signal });
    for (const name of ["change:status", "change:error"]) {
      const hear = () => this.#status();
      model.on(name, hear);
      signal.addEventListener("abort", () => model.off(name, hear));
    }
  }

  // --- painting

  #show() {
    if (!this.#image) return;
    const { choice } = this, { base, sides } = choice.predictions.at(choice.at);
    const shown = sides.map(made => this.#measure(base, made));
    this.previews.forEach((figure, side) => this.#draw(figure, base, shown[side]));
    choice.clock.painted();
    this.#write(shown);
    this.#drawSample();
    this.pad.show();
    const chosen = shown[choice.with_negative ? 1 : 0];
    this.plane.show(chosen.made, choice.variant, [chosen.k, chosen.v]);
  }

  #measure(base, made) {
    const [k, v] = this.choice.effect(made);
    return { made, k, v };
  }

  #draw({ canvas, note, side }, base, shown) {
    const { made, k, v } = shown;
    shown.clipped = compose(this.#image.data, base, made, k, v);
    canvas.getContext("2d").putImageData(this.#image, 0, 0);
    const acts = this.choice.acts(this.choice.t) ? "" : "; guidance does not act";
    note.textContent = `x̂₀ at t\u00a0=\u00a0${this.choice.t}${side && `, ${side}`}${acts}`;
  }

  #write(shown) {
    const { choice } = this, { dialName, dial, variant } = choice;
    this.dial.turn(dialName, dialName === "w" ? this.words : {});
    this.dial.show(choice.samples.alike(choice.key).map(({ key }) => key[1]).sort((a, b) => a - b));
    this.phi.show();
    this.ofW.hidden = dialName !== "w";
    this.ofG.hidden = dialName !== "g";
    for (const [input, value] of [[this.w, choice.w], [this.paper, choice.w - 1], [this.g, choice.g]]) {
      if (input !== document.activeElement || choice.held) input.value = brief(value);
    }
    const { v } = shown[choice.with_negative ? 1 : 0];
    this.acting.textContent = `acts here as w = ${fixed(v)}`;
    for (const [name, button] of this.variants) button.setAttribute("aria-pressed", name === variant);
    for (const [side, button] of this.prompts) button.setAttribute("aria-pressed", side === choice.with_negative);
    this.phiRow.hidden = variant !== "std";
    this.phiValue.textContent = `φ = ${choice.phi.toFixed(2)}`;
    this.formula.textContent = VARIANTS[variant].title;
    this.where.textContent = `At t = ${choice.t}, ᾱ = ${brief(this.model.get("alpha_bar")[choice.at])}`;
    ROWS.forEach(([, , read], row) => shown.forEach((side, column) => { this.values[row][column].textContent = read(side); }));
    this.code.textContent = this.#code();
  }

  #drawSample() {
    const { choice } = this, { running, nearest: { row, exact } } = choice, { canvas, frame, badge, title, note } = this.sample;
    const name = choice.dialName, set = ([, dial]) => `${name} = ${brief(dial)}`, yours = `${name} = ${brief(choice.dial)}`;
    const live = this.model.get("status") === "running" && running;
    const late = choice.asked && performance.now() - choice.asked > PATIENCE;
    const waits = choice.asked ? (late ? "no answer: the kernel is busy, or there is none" : "asked for, not begun") : "";
    badge.textContent = live || (exact && row.rerun) ? "3" : "2";
    title.textContent = live ? "True re-run" : exact ? (row.rerun ? "True re-run, finished" : "Finished sample") : "Nearest finished sample";
    note.textContent = live ? `${set(running.key)}: step ${running.step}${choice.expected ? ` of ${choice.expected}` : ""}`
      : exact ? `${yours}, exactly` : row ? `${set(row.key)}; ${waits || `you are at ${yours}`}`
      : waits || (this.model.get("runs") ? "none yet with these settings" : "none with these settings");
    frame.classList.toggle("kit-other", !live && row !== undefined && !exact);
    frame.classList.toggle("kit-missing", !live && !row);
    this.bar.hidden = !live;
    this.bar.firstChild.style.width = choice.expected && live ? percent(Math.min(1, running.step / choice.expected)) : "100%";
    this.bar.classList.toggle("kit-unknown", !choice.expected);
    this.state.textContent = { running: "running", cancelled: "stopped" }[this.model.get("status")] ?? "";
    this.runButton.hidden = !this.model.get("runs") || this.model.get("status") === "running" || exact;
    this.runButton.textContent = `Re-run at ${yours}`;
    const bitmap = live ? running.bitmap : row && choice.samples.bitmap(row);
    if (!live && !row) return this.#paste(canvas, null);
    if (bitmap) this.#paste(canvas, bitmap);
  }

  #paste(canvas, bitmap) {
    if (this.#sampled === bitmap) return;
    const before = this.#sampled;
    this.#sampled = bitmap;
    const context = canvas.getContext("2d");
    if (!bitmap) return context.clearRect(0, 0, canvas.width, canvas.height);
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
      canvas.classList.toggle("kit-pixelated", Math.max(bitmap.width, bitmap.height) <= 64);
    }
    context.drawImage(bitmap, 0, 0);
    if (!before || before.width !== bitmap.width) this.#resize();
  }

  // The same text as to_code() gives.
  #code() {
    const { choice } = this, { variant, with_negative, interval } = choice, [step, sample] = this.model.get("_code");
    const real = value => Number.isInteger(value) ? `${value}.0` : String(value);
    const settings = [real(choice.w), ...(variant === "none" ? [] : [`variant='${variant}'`]),
      ...(LENGTHS.includes(variant) ? [`g=${real(choice.g)}`] : []), ...(variant === "std" ? [`phi=${real(choice.phi)}`] : [])].join(", ");
    const u = with_negative ? "negative" : "u", eps = choice.acts(choice.t) ? `combine(${u}, c, ${settings})` : "c  # outside the interval";
    const fill = (text, parts) => Object.entries(parts).reduce((made, [name, part]) => made.replaceAll(`{${name}}`, part), text);
    return [fill(step, { u, t: choice.t, eps }), fill(sample, { away: with_negative ? "negative" : "uncond",
      arguments: settings + (interval.length ? `, interval=(${interval.join(", ")})` : "") })].join("\n");
  }
}

export default () => {
  let choice;
  return {
    initialize({ model }) {
      choice = new Choice(model);
      return () => choice.close();
    },
    render({ model, el, signal }) {
      const ended = new AbortController();
      signal?.addEventListener("abort", () => ended.abort());
      const root = element("div", { className: "kit-panel kit-guidance" });
      el.append(root);
      new View(model, choice, root, ended.signal);
      return () => ended.abort();
    },
  };
};
