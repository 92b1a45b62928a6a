// The interpolation slider: the pictures made at some etas, decoded here; nothing is asked of the kernel while a hand moves.

const GAP = 16, NARROWEST = 128, BUDGET = 64 * 2 ** 20, SAME = 5e-4;
const CURVES = ["fidelity", "alignment"];
const PLOT = 176, HEAD = 34, FOOT = 8;  // of the curves: their height, and the room for words above and for points below

// The pictures by eta, each entry {eta, rerun, parts, bitmaps}: those nearest to the hand are kept decoded.
class Shelf {
  #entries = [];
  #decoding = false;
  #closed = false;
  at = 0;

  constructor(size, rows, arrived) {
    this.arrived = arrived;
    this.kept = Math.max(4, Math.floor(BUDGET / (4 * size[0] * size[1] * rows)));
  }

  load({ table, blob }) {
    const all = apart(blob, table.flatMap(([, lengths]) => lengths));
    for (const [eta, lengths, rerun] of table) this.#put(eta, all.splice(0, lengths.length), rerun);
    this.#decode();
  }

  add(eta, parts, rerun) {
    this.#put(eta, parts, rerun);
    this.#decode();
    this.arrived();
  }

  #put(eta, parts, rerun) {
    const before = this.exact(eta);
    release(before?.bitmaps);
    this.#entries = [...this.#entries.filter(entry => entry !== before), { eta, parts, rerun }].sort((a, b) => a.eta - b.eta);
  }

  get all() { return this.#entries; }

  nearest(eta) {
    const away = entry => Math.abs(entry.eta - eta);
    return this.#entries.reduce((best, entry) => away(entry) < away(best) ? entry : best);
  }

  exact(eta) { return this.#entries.find(entry => Math.abs(entry.eta - eta) < SAME); }

  move(eta) {
    this.at = eta;
    if (this.#entries.length > this.kept) this.#decode();
  }

  // The reconstruction, always in view, counts as near.
  #near() {
    const away = ({ eta }) => Math.abs(eta) < SAME ? -1 : Math.abs(eta - this.at);
    return [...this.#entries].sort((a, b) => away(a) - away(b)).slice(0, this.kept);
  }

  async #decode() {
    if (this.#decoding) return;
    this.#decoding = true;
    for (let entry; !this.#closed && (entry = this.#near().find(({ bitmaps }) => !bitmaps));) {
      const bitmaps = await Promise.all(entry.parts.map(decoded));
      if (this.#closed || !this.#entries.includes(entry)) release(bitmaps);
      else entry.bitmaps = bitmaps;
      this.#forget();
      if (!this.#closed) this.arrived();
    }
    this.#decoding = false;
  }

  #forget() {
    const near = new Set(this.#near());
    for (const entry of this.#entries) if (!near.has(entry)) entry.bitmaps = release(entry.bitmaps);
  }

  close() {
    this.#closed = true;
    for (const entry of this.#entries) entry.bitmaps = release(entry.bitmaps);
  }
}

// --- what all views of a model share

class Choice {
  #views = new Set();
  held = false;

  constructor(model) {
    this.model = model;
    this.eta = model.get("eta");
    this.clock = new Clock();
    this.shelf = new Shelf(model.get("size"), model.get("rows"), () => this.tell());
    this.shelf.move(this.eta);
    this.shelf.load(model.get("_pictures"));
    this.rerun = new Rerun(model, () => this.tell(), (eta, parts) => this.shelf.add(eta, parts, true));
    model.on("change:eta", () => { if (!this.held) this.set({ eta: model.get("eta") }); });
    model.on("change:_pictures", () => this.shelf.load(model.get("_pictures")));
    this.#still();
  }

  // The input and the true edit, as far as there are any, as bitmaps of their own.
  async #still() {
    this.stills = {};
    for (const [name, data] of Object.entries(this.model.get("_stills"))) {
      this.stills[name] = undefined;
      [this.stills[name]] = await Promise.all(apart(data).map(decoded));
      this.tell();
    }
  }

  join(view, signal) {
    this.#views.add(view);
    signal.addEventListener("abort", () => this.#views.delete(view));
  }

  tell() { for (const view of this.#views) view(); }

  set({ eta }) {
    this.eta = eta;
    this.shelf.move(eta);
    this.tell();
  }

  commit() {
    const { model } = this;
    if (model.get("eta") === this.eta) return;
    model.set("eta", this.eta);
    model.set("_timing", this.clock.summary());
    model.save_changes();
    this.rerun.chosen(!this.shelf.exact(this.eta));
  }

  // What is shown: the pictures under way for this eta, or those made nearest to it.
  get shown() {
    const { live } = this.rerun, entry = this.shelf.nearest(this.eta);
    return { live, entry, exact: Math.abs(entry.eta - this.eta) < SAME };
  }

  close() {
    this.rerun.close();
    this.shelf.close();
    release(Object.values(this.stills));
    this.clock.close();
  }
}

// --- the curves, over the same eta as the slider below them

const means = rows => rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);

// The value at a place between rising ones, straight from one to the next.
function between(places, values, at) {
  const next = Math.max(1, places.findIndex(place => place >= at)), last = next < 1 ? places.length - 1 : next;
  const part = clamp((at - places[last - 1]) / (places[last] - places[last - 1]), 0, 1);
  return values[last - 1] + part * (values[last] - values[last - 1]);
}

class Plot {
  constructor(choice, scale) {
    const { model } = choice;
    Object.assign(this, { choice, scale, etas: model.get("etas"), band: model.get("band"), flat: model.get("flat") });
    this.curves = CURVES.filter(name => model.get("curves")[name]).map((name, side) => this.#curve(name, model.get("curves")[name], side));
    this.height = this.curves.length ? PLOT : HEAD + FOOT;
    this.root = drawn("svg", { class: "kit-curves", height: this.height, "aria-hidden": true });
    this.needle = drawn("path", { class: "kit-needle" });
    this.points = this.curves.map(({ name }) => drawn("circle", { class: `kit-point kit-${name}`, r: 6 }));
  }

  // Its numbers, and how high each stands, with a little room above and below.
  #curve(name, rows, side) {
    const all = rows.flat(), low = Math.min(...all), high = Math.max(...all), span = high - low, same = span <= 1e-6 * Math.max(high, -low);
    const room = 0.06 * (same ? Math.abs(high) || 1 : span);
    const [from, to] = [low - room, high + room], mean = means(rows);
    const y = value => PLOT - FOOT - (value - from) / (to - from) * (PLOT - HEAD - FOOT);
    return { name, rows, side, mean, y, ticks: rounds(from, to, 4).map(value => [y(value), value]) };
  }

  at(eta) { return Object.fromEntries(this.curves.map(({ name, mean }) => [name, between(this.etas, mean, eta)])); }

  draw(width) {
    this.width = width;
    place(this.root, { width, viewBox: `0 0 ${width} ${this.height}` });
    this.root.replaceChildren(...this.#regions(), ...this.curves.flatMap(curve => this.#axis(curve)), this.needle,
      ...this.curves.flatMap(curve => this.#lines(curve)), ...this.#names(), ...this.points);
    place(this.needle, { d: `M0 ${HEAD - 4}V${this.height}` });
    this.move();
  }

  #x(eta) { return this.scale.share(clamp(eta, this.scale.low, this.scale.high)) * this.width; }

  #region(kind, low, high, ...words) {
    const [from, to] = [this.#x(low), this.#x(high)], middle = kind === "band";
    const text = words.map((word, line) => drawn("text", { class: `kit-word kit-${kind}-word`, "text-anchor": middle ? "middle" : "start",
      x: middle ? (from + to) / 2 : from + 6, y: 12 + 13 * line }, word));
    return to - from < 0.5 ? [] : [drawn("rect", { class: `kit-${kind}`, x: from, width: to - from, y: 0, height: this.height }), ...text];
  }

  #regions() {
    const { band: [low, high], flat, scale, choice } = this;
    const paper = low === 0.6 && high === 0.8 ? "the paper’s" : "marked";
    return [...flat === null ? [] : this.#region("flat", scale.low, flat, "still", choice.model.get("labels")[0]),
      ...low === undefined ? [] : this.#region("band", low, high, paper, `${brief(low)} to ${brief(high)}`)];
  }

  // The curves' names, on the right above them.
  #names() {
    return this.curves.flatMap(({ name }, line) => [
      drawn("text", { class: `kit-word kit-${name}`, x: this.width - 32, y: 12 + 13 * line, "text-anchor": "end" }, name),
      drawn("path", { class: `kit-line kit-${name}`, d: `M${this.width - 26} ${8 + 13 * line}h22` })]);
  }

  // Numbers on the left for the first curve, on the right for the second; lines across for the first.
  #axis({ name, side, ticks }) {
    const x = side ? this.width + 6 : -6, anchor = side ? "start" : "end";
    return ticks.flatMap(([y, value]) => [
      ...side ? [] : [drawn("path", { class: "kit-rule", d: `M0 ${y}H${this.width}` })],
      drawn("text", { class: `kit-${name}`, x, y: y + 4, "text-anchor": anchor }, minus(value))]);
  }

  #lines({ name, rows, mean, y }) {
    const line = (values, kind) => drawn("path", { class: `kit-line kit-${name} ${kind}`,
      d: "M" + values.map((value, i) => `${this.#x(this.etas[i]).toFixed(1)} ${y(value).toFixed(1)}`).join("L") });
    const dots = mean.map((value, i) => drawn("circle", { class: `kit-dot kit-${name}`, r: 2.5, cx: this.#x(this.etas[i]), cy: y(value) }));
    return [...rows.length > 1 ? rows.map(row => line(row, "kit-faint")) : [], line(mean, ""), ...dots];
  }

  move() {
    const { eta } = this.choice, x = this.#x(eta), now = this.at(eta);
    place(this.needle, { transform: `translate(${x.toFixed(1)} 0)` });
    this.curves.forEach(({ name, y }, i) => place(this.points[i], { cx: x.toFixed(1), cy: y(now[name]).toFixed(1) }));
  }
}

// --- the page

class View {
  constructor(model, choice, root, signal) {
    Object.assign(this, { model, choice, root, signal, rows: model.get("rows") });
    this.paint = debounceFrame(() => this.#show());
    this.#build();
    choice.join(() => this.paint(), signal);
    this.#listen();
    const observer = new ResizeObserver(() => this.#resize());
    observer.observe(root);
    signal.addEventListener("abort", () => { observer.disconnect(); this.paint.cancel(); });
    this.#status();
  }

  #build() {
    const { model, choice, signal, rows } = this, [first, last] = model.get("labels"), stills = model.get("_stills");
    this.zero = this.#figure("η = 0", rows, "reconstruction");
    this.here = this.#figure("", rows);
    this.stills = [["source", "Input", first], ["true", "True edit", last]].filter(([name]) => stills[name])
      .map(([name, title, note]) => ({ name, ...this.#figure(title, 1, note) }));
    this.figures = [...this.stills.filter(({ name }) => name === "source"), this.zero, this.here, ...this.stills.filter(({ name }) => name === "true")];
    this.bar = element("div", { className: "kit-bar", hidden: true }, element("div", {}));
    this.here.frames[0].frame.append(this.bar);
    this.runButton = element("button", { type: "button", className: "kit-button kit-run" }, "Re-run");
    this.stop = element("button", { type: "button", className: "kit-button kit-stop" }, "Stop");
    this.state = element("span", { className: "kit-state", role: "status" });
    this.error = element("div", { className: "kit-error", role: "alert", hidden: true });
    this.card = element("div", { className: "kit-card" },
      element("header", {}, element("span", { className: "kit-title" }, model.get("title")), this.state, this.runButton, this.stop),
      this.error,
      element("div", { className: "kit-pictures" }, ...this.figures.map(({ figure }) => figure)),
      this.#axis(first, last));
    this.root.append(this.card);
  }

  #figure(name, rows, said = "") {
    const frames = Array.from({ length: rows }, (_, row) => {
      const label = [name || "Picture at η", rows > 1 && `seed ${row + 1}`].filter(Boolean).join(", ");
      const canvas = element("canvas", { role: "img", "aria-label": label });
      return { canvas, frame: element("div", { className: "kit-frame" }, canvas) };
    });
    const title = element("strong", {}, name), note = element("span", { className: "kit-said" }, said);
    return { frames, title, note,
      figure: element("figure", {}, ...frames.map(({ frame }) => frame), element("figcaption", {}, title, note)) };
  }

  // The slider with the curves and small pictures on the same axis, and what is read there.
  #axis(first, last) {
    const { choice, signal, model } = this, etas = model.get("etas"), low = etas[0], high = etas.at(-1);
    const gaps = etas.slice(1).map((eta, i) => eta - etas[i]);
    const step = model.get("runs") ? 0.01 : Math.max(0.001, rounded(Math.min(...gaps), 0.001));
    this.scale = { low, high, step, origin: 0, marks: rounds(low, high, 10),
      share: eta => (eta - low) / (high - low), value: share => low + share * (high - low) };
    this.dial = new Dial(choice, "eta, the share of the words", signal);
    this.dial.turn("eta", { 0: first, 1: last }, this.scale);
    this.plot = new Plot(choice, this.scale);
    this.strip = element("canvas", { className: "kit-film", "aria-hidden": true });
    this.mark = element("div", { className: "kit-mark", "aria-hidden": true });
    this.dial.node.prepend(this.strip, this.mark, this.plot.root);
    this.wrong = element("div", { className: "kit-wrong", role: "alert" });
    this.field = typed("η", low, high, (value, wrong) => {
      say(this.wrong, value === null ? wrong : "");
      if (value === null) return;
      choice.set({ eta: value });
      choice.commit();
    }, signal);
    const read = this.plot.curves.length ? this.plot.curves.map(({ name }) => name) : ["picture of"];
    this.values = Object.fromEntries(read.map(name => [name, element("dd", {})]));
    const readings = Object.entries(this.values).map(([name, value]) =>
      element("div", {}, element("dt", name in model.get("curves") ? { className: `kit-key kit-${name}` } : {}, name), value));
    return element("section", {}, this.dial.node,
      element("footer", {}, element("label", {}, element("i", {}, "η"), this.field), element("dl", { className: "kit-readings" }, ...readings), this.wrong));
  }

  #resize() {
    const width = this.root.clientWidth - 2 * GAP;
    if (width <= 0) return;
    const { rows, figures } = this, [w, h] = this.model.get("size"), beside = rows > 1 && width >= 860;
    const share = beside ? 0.48 * width : width, count = figures.length;
    const columns = clamp(Math.floor((share + GAP) / (NARROWEST + GAP)), 1, count);
    const room = Math.floor((share - GAP * (columns - 1)) / columns), tallest = rows > 1 ? Math.max(96, 620 / rows) : 384;
    const side = wholePixels(Math.min(room, tallest), Math.max(w, h) / devicePixelRatio);
    const pictures = columns * side + (columns - 1) * GAP;
    this.card.classList.toggle("kit-beside", beside);
    this.card.style.width = `${beside ? width : Math.min(width, Math.max(pictures, 760))}px`;
    this.card.style.setProperty("--kit-pictures", `${pictures}px`);
    for (const { figure, frames } of figures) {
      figure.style.width = `${side}px`;
      for (const { frame } of frames) Object.assign(frame.style, { width: `${side * w / Math.max(w, h)}px`, height: `${side * h / Math.max(w, h)}px` });
    }
    this.#lay();
    this.#show();
  }

  // The small pictures and the curves, as wide as the slider now is.
  #lay() {
    const { dial, plot, strip, rows } = this, width = dial.node.clientWidth;
    if (width === this.width) return;
    this.width = width;
    const count = this.model.get("etas").length;
    this.thumb = clamp(Math.floor(width / (count - 1)) - 3, 28, 56);
    this.film = rows * (this.thumb + 3);
    strip.width = Math.round((width + this.thumb) * devicePixelRatio);
    strip.height = Math.round(this.film * devicePixelRatio);
    Object.assign(strip.style, { width: `${width + this.thumb}px`, height: `${this.film}px`, left: `${-this.thumb / 2}px` });
    Object.assign(this.mark.style, { width: `${this.thumb}px`, height: `${this.film - 3}px`, marginLeft: `${-this.thumb / 2}px` });
    dial.node.style.setProperty("--kit-film", `${this.film + 8}px`);
    dial.node.style.setProperty("--kit-above", `${this.film + 8 + plot.height}px`);
    this.filmed = "";
    plot.draw(width);
  }

  // Those of the etas that have room beside one another.
  #thumbs() {
    const { thumb, width, scale, choice } = this, shown = [];
    for (const entry of choice.shelf.all) {
      const x = scale.share(entry.eta) * width;
      if (!shown.length || x - shown.at(-1).x >= thumb + 2) shown.push({ entry, x });
    }
    return shown;
  }

  #drawFilm() {
    const thumbs = this.#thumbs().filter(({ entry }) => entry.bitmaps), now = thumbs.map(({ entry }) => entry.eta).join();
    if (now === this.filmed) return;
    this.filmed = now;
    const { strip, thumb, model } = this, context = strip.getContext("2d"), ratio = devicePixelRatio, [w, h] = model.get("size");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, strip.width, strip.height);
    context.imageSmoothingQuality = "high";
    const scale = thumb / Math.max(w, h), top = (thumb - h * scale) / 2, left = (thumb - w * scale) / 2;
    for (const { entry, x } of thumbs) {
      entry.bitmaps.forEach((bitmap, row) => { if (bitmap) context.drawImage(bitmap, x + left, row * (thumb + 3) + top, w * scale, h * scale); });
    }
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
    const { model, signal, choice } = this;
    this.stop.addEventListener("click", () => choice.rerun.stop(), { signal });
    this.runButton.addEventListener("click", () => choice.rerun.run(), { signal });
    for (const name of ["change:status", "change:error"]) {
      const hear = () => this.#status();
      model.on(name, hear);
      signal.addEventListener("abort", () => model.off(name, hear));
    }
  }

  // --- painting

  #show() {
    if (!this.width) return;
    const { choice } = this, { live, entry, exact } = choice.shown;
    this.#paste(this.here, live?.bitmaps ?? entry.bitmaps);
    this.plot.move();
    choice.clock.painted();
    this.#paste(this.zero, choice.shelf.exact(0).bitmaps);
    for (const still of this.stills) this.#paste(still, [choice.stills[still.name]]);
    this.#write(live, entry, exact);
    this.#drawFilm();
  }

  #paste({ frames }, bitmaps) {
    frames.forEach((frame, row) => {
      const bitmap = bitmaps?.[row], { canvas } = frame;
      if (!bitmap || frame.shown === bitmap) return;
      frame.shown = bitmap;
      if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
        canvas.width = bitmap.width;
        canvas.height = bitmap.height;
        canvas.classList.toggle("kit-pixelated", Math.max(bitmap.width, bitmap.height) <= 64);
      }
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
    });
  }

  #write(live, entry, exact) {
    const { choice, here, plot } = this, { rerun, eta } = choice, { expected } = rerun, now = plot.at(eta);
    const yours = `η = ${brief(eta)}`, made = `η = ${brief(entry.eta)}`, nearest = `the nearest, of ${made}`;
    say(here.title, live ? `η = ${brief(live.key)}` : yours);
    say(here.note, live ? `true re-run, step ${live.step}${expected ? ` of ${expected}` : ""}`
      : !exact ? [nearest, rerun.waits].filter(Boolean).join("; ") : entry.rerun ? "true re-run, finished" : "made before");
    for (const { frame } of here.frames) frame.classList.toggle("kit-other", !live && !exact);
    this.bar.hidden = !live;
    this.bar.classList.toggle("kit-unknown", !expected);
    this.bar.firstChild.style.width = percent(live && expected ? Math.min(1, live.step / expected) : 1);
    this.runButton.hidden = !rerun.possible || this.model.get("status") === "running" || exact;
    say(this.runButton, `Re-run at ${yours}`);
    say(this.state, rerun.state);
    const measured = this.plot.etas.some(known => Math.abs(known - eta) < SAME), about = measured ? "" : "≈ ";
    for (const [name, value] of Object.entries(this.values)) say(value, name in now ? about + fixed(now[name], 3) : made);
    if (document.activeElement !== this.field) this.field.value = brief(eta);
    this.mark.style.left = percent(this.scale.share(entry.eta));
    this.dial.show(choice.shelf.all.map(each => each.eta), this.#spoken(entry, exact, now));
  }

  // What a screen reader says of the place.
  #spoken(entry, exact, now) {
    const { eta } = this.choice, [low, high] = this.plot.band, { flat } = this.plot;
    return [`eta ${brief(eta)}`, exact ? "" : `picture of ${brief(entry.eta)}`,
      flat !== null && eta <= flat ? `still ${this.model.get("labels")[0]}` : "",
      low !== undefined && low <= eta && eta <= high ? `between ${brief(low)} and ${brief(high)}, marked` : "",
      ...Object.entries(now).map(([name, value]) => `${name} ${fixed(value, 3)}`)].filter(Boolean).join(", ");
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
      const root = element("div", { className: "kit-panel kit-interpolation" });
      el.append(root);
      new View(model, choice, root, ended.signal);
      return () => ended.abort();
    },
  };
};
