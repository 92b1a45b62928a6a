// The guidance slider: u and c are combined and decoded here, and nothing is asked of the kernel while a hand moves.

const GAP = 16, NARROWEST = 150, KEPT = 16;
const CHOICES = ["variant", "w", "g", "phi", "interval", "with_negative", "at"];

const VARIANTS = {
  none: "u + w (c − u)",
  pred_norm: "u + w (c − u), its direction kept, its length made that of u",
  t_norm: "u + g ‖u‖ (c − u) / ‖c − u‖: an update whose length is a share g of that of u",
  full_norm: "t_norm, its direction kept, its length made that of u",
  std: "u + w (c − u), a share φ of it rescaled to the spread of c (2305.08891)",
};

// --- finished samples

const without = ([variant, , ...others]) => JSON.stringify([variant, ...others]);

class Samples {
  #rows = [];
  #decoded = [];
  #kept = KEPT;

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

  get some() { return this.#rows.length > 0; }

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
    while (this.#decoded.length > this.#kept) this.#forget(this.#decoded.shift());
    this.arrived();
  }

  #forget(row) {
    row.bitmap?.close();
    row.asked = row.bitmap = undefined;
  }

  close() {
    this.#kept = 0;
    this.#decoded.splice(0).forEach(row => this.#forget(row));
  }
}

// --- what all views of a model share

class Choice {
  #views = new Set();
  held = false;

  constructor(model) {
    this.model = model;
    this.predictions = new Predictions(model);
    this.samples = new Samples(() => this.tell());
    this.samples.load(model.get("_samples"));
    this.rerun = new Rerun(model, () => this.tell(), (key, [bytes]) => this.samples.add(key, bytes, true));
    this.clock = new Clock();
    for (const name of CHOICES) {
      this[name] = model.get(name);
      model.on(`change:${name}`, () => { if (!this.held) this.set({ [name]: model.get(name) }); });
    }
    model.on("change:_samples", () => this.samples.load(model.get("_samples")));
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

  said(dial) { return `${this.dialName} = ${brief(dial)}`; }

  // What there is of a sample: the re-run under way; the finished one nearest to what is chosen, and whether it is
  // exactly that.
  get sample() {
    const row = this.samples.nearest(this.key);
    return { row, exact: row !== undefined && row.key[1] === this.dial, live: this.rerun.live };
  }

  commit() {
    const { model } = this, changed = CHOICES.filter(name => model.get(name) !== this[name]);
    if (!changed.length) return;
    for (const name of changed) model.set(name, this[name]);
    model.set("_timing", this.clock.summary());
    model.save_changes();
    if (changed.some(name => name !== "at")) this.rerun.chosen(!this.sample.exact);
  }

  close() {
    this.rerun.close();
    this.samples.close();
    this.clock.close();
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
    this.figures = model.get("runs") || choice.samples.some ? [...this.previews, this.sample] : this.previews;
    this.runButton = element("button", { type: "button", className: "kit-button kit-run" }, "Re-run");
    this.stop = element("button", { type: "button", className: "kit-button kit-stop" }, "Stop");
    this.state = element("span", { className: "kit-state", role: "status" });
    this.error = element("div", { className: "kit-error", role: "alert", hidden: true });
    this.wrong = element("div", { className: "kit-wrong", role: "alert" });
    this.dial = new Dial(choice, "Guidance", signal);
    this.pad = new Pad(choice, signal);
    this.plane = new Plane();
    this.code = element("pre", { tabIndex: 0 });
    this.card = element("div", { className: "kit-card" },
      element("header", {}, element("span", { className: "kit-title" }, model.get("title")), this.state, this.runButton, this.stop),
      this.error,
      element("div", { className: "kit-pictures" }, ...this.figures.map(({ figure }) => figure)),
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
      say(this.wrong, value === null ? wrong : "");
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
    this.variants = Object.entries(VARIANTS).map(([variant, title]) => [variant, button(variant, title, { variant })]);
    this.phi = new Dial(choice, "Share of the rescaled prediction, φ", signal);
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
    const columns = clamp(Math.floor((width + GAP) / (NARROWEST + GAP)), 1, this.figures.length);
    const room = Math.floor((width - GAP * (columns - 1)) / columns);
    const { w, h } = this.choice.predictions, bitmap = this.#sampled;
    const native = Math.max(w, h, bitmap?.width ?? 0, bitmap?.height ?? 0);
    const side = wholePixels(Math.min(room, clamp(native, 384, 512)), Math.max(w, h) / devicePixelRatio);
    const card = Math.min(width, Math.max(columns * side + (columns - 1) * GAP, 720));
    this.card.style.width = `${card}px`;
    this.card.classList.toggle("kit-small", side < 340);
    this.card.dataset.parts = card >= 700 ? 3 : card >= 480 ? 2 : 1;
    for (const { frame, figure } of this.figures) {
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
    this.stop.addEventListener("click", () => this.choice.rerun.stop(), { signal });
    this.runButton.addEventListener("click", () => this.choice.rerun.run(), { signal });
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
    this.#showSample();
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
    shown.clipped = compose(this.#image, base, made, k, v);
    canvas.getContext("2d").putImageData(this.#image, 0, 0);
    const { t } = this.choice, how = this.choice.acts(t) ? "decoded linearly" : "without guidance";
    say(note, [`x̂₀ at t\u00a0=\u00a0${t}, ${how}`, side].filter(Boolean).join("; "));
  }

  #write(shown) {
    const { choice } = this, { dialName, dial, variant } = choice;
    this.dial.turn(dialName, dialName === "w" ? this.words : undefined);
    this.dial.show(choice.samples.alike(choice.key).map(({ key }) => key[1]).sort((a, b) => a - b));
    if (variant === "std") this.phi.show();
    this.ofW.hidden = dialName !== "w";
    this.ofG.hidden = dialName !== "g";
    const fields = [[this.w, choice.w], [this.paper, choice.w - 1], [this.g, choice.g]], { activeElement } = document;
    if (!fields.some(([field]) => field === activeElement)) say(this.wrong, "");
    for (const [field, value] of fields) if (field !== activeElement) field.value = brief(value);
    const { v } = shown[choice.with_negative ? 1 : 0];
    say(this.acting, `acts here as w = ${fixed(v)}`);
    for (const [name, button] of this.variants) place(button, { "aria-pressed": name === variant });
    for (const [side, button] of this.prompts) place(button, { "aria-pressed": side === choice.with_negative });
    this.phiRow.hidden = variant !== "std";
    say(this.phiValue, `φ = ${choice.phi.toFixed(2)}`);
    say(this.formula, VARIANTS[variant]);
    say(this.where, `At t = ${choice.t}, ᾱ = ${brief(this.model.get("alpha_bar")[choice.at])}`);
    ROWS.forEach(([, , read], row) => shown.forEach((side, column) => { say(this.values[row][column], read(side)); }));
    say(this.code, this.#code());
  }

  #showSample() {
    const { choice } = this, { live, row, exact } = choice.sample, { canvas, frame, badge, title } = this.sample;
    say(badge, live || (exact && row.rerun) ? "3" : "2");
    say(title, live ? "True re-run" : !exact ? "Nearest finished sample" : row.rerun ? "True re-run, finished" : "Finished sample");
    say(this.sample.note, this.#noteOfSample());
    frame.classList.toggle("kit-other", !live && row !== undefined && !exact);
    frame.classList.toggle("kit-missing", !live && !row);
    say(this.state, choice.rerun.state);
    this.#progress(live);
    this.runButton.hidden = !choice.rerun.possible || this.model.get("status") === "running" || exact;
    say(this.runButton, `Re-run at ${choice.said(choice.dial)}`);
    const bitmap = live ? live.bitmaps?.[0] : row && choice.samples.bitmap(row);
    if (bitmap || (!live && !row)) this.#paste(canvas, bitmap);
  }

  #noteOfSample() {
    const { choice } = this, { live, row, exact } = choice.sample, { possible, expected, waits } = choice.rerun, yours = choice.said(choice.dial);
    if (live) return `${choice.said(live.key[1])}: step ${live.step}${expected ? ` of ${expected}` : ""}`;
    if (exact) return `${yours}, exactly`;
    if (row) return `${choice.said(row.key[1])}; ${waits || `you are at ${yours}`}`;
    return waits || (possible ? "none yet with these settings" : "none with these settings");
  }

  #progress(live) {
    const { expected } = this.choice.rerun;
    this.bar.hidden = !live;
    this.bar.classList.toggle("kit-unknown", !expected);
    this.bar.firstChild.style.width = percent(live && expected ? Math.min(1, live.step / expected) : 1);
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

export default () => asWidget("kit-guidance", (model, root, signal, choice) => new View(model, choice, root, signal),
  model => new Choice(model));
