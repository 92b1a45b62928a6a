// The mask picker: from the differences of each noise to the mask, here, while nothing is asked of the kernel.

const CHOICES = ["threshold", "samples", "view", "smooth", "grid", "doubt", "outline"];
const VIEWS = {
  overlay: "the mask tinted over the picture",
  contour: "the mask's outline only",
  "cut-out": "what the mask leaves of the picture",
  curtain: "the picture beside the map that the threshold divides",
};
const KEEP = 100, MOMENT = 100, PAUSE = 40, MANY = 2 ** 20, BRUSHES = [1, 3, 5, 9];

// --- what all views of a model share

class Choice {
  #views = new Set();
  #made = new Map();
  held = false;
  curtain = 0.5;
  percentile = 75;
  past = [];
  future = [];

  constructor(model) {
    const { maps, truth } = model.get("_operands"), [count, height, width] = model.get("shape"), area = width * height;
    // A copy, for what comes over a wire may begin anywhere and a Float32Array may not.
    this.maps = new Float32Array(maps.buffer.slice(maps.byteOffset, maps.byteOffset + maps.byteLength));
    this.truth = truth && bitsOf(new Uint8Array(truth.buffer, truth.byteOffset, truth.byteLength), 0, area);
    Object.assign(this, { model, count, width, height, area, clock: new Clock() });
    this.deviation = count > 1 ? deviations(this.maps, area, count) : null;
    this.save = throttle(() => this.commit(), MOMENT);
    this.measure = throttle(() => this.#tell("measure"), count * area > MANY ? 5 * PAUSE : PAUSE);
    for (const name of CHOICES) {
      this[name] = model.get(name);
      model.on(`change:${name}`, () => { if (!this.held) this.set({ [name]: model.get(name) }, false); });
    }
    model.on("change:title", () => this.#tell("paint"));
    model.on("change:brush", () => { if (!this.held && model.get("brush") !== this.brush) this.#load(); });
    this.#load();
  }

  join(view, signal) {
    this.#views.add(view);
    signal.addEventListener("abort", () => this.#views.delete(view));
  }

  #tell(what) { for (const view of this.#views) view[what](); }

  set(changes, save = true) {
    Object.assign(this, changes);
    this.samples = Math.round(this.samples);
    this.#renew();
    // Not while a hand drags: to send, and what a notebook does with the answer, would take from the next frame.
    if (save && !this.held) this.save();
  }

  // --- from the differences to the mask

  madeOf(n) {
    if (!this.#made.has(n)) {
      const made = normalised(this.maps, this.area, n, this.model.get("clip"));
      this.#made.set(n, { ...made, otsu: otsu(made.map) });
    }
    return this.#made.get(n);
  }

  doubtAt(n) { return doubtful(this.madeOf(n), this.deviation, n, this.threshold); }
  shareInDoubtAt(n) { return shareInDoubt(this.madeOf(n), this.deviation, n, this.threshold); }

  #renew() {
    const made = this.madeOf(this.samples), { layer, threshold } = this;
    if (made !== this.made || layer !== this.painted) this.#paintOver(made, layer);
    this.mask = above(this.field, threshold);
    this.covers = inPercent(share(this.mask));
    this.#tell("paint");
    this.measure();
  }

  // What is painted lies beyond both ends of [0, 1], so that no threshold changes it.
  #paintOver(made, layer) {
    if (made !== this.made || this.snapsAt !== this.percentile) this.#snap(made);
    Object.assign(this, { made, painted: layer, field: made.map.slice() });
    for (let i = 0; i < layer.length; i++) if (layer[i]) this.field[i] = layer[i] > 0 ? 1 + BEYOND : -BEYOND;
  }

  #snap(made) {
    this.snapsAt = this.percentile;
    this.snaps = { paper: 0.5, Otsu: made.otsu, percentile: quantile(made.map, this.percentile / 100) };
  }

  atPercentile(percentile) {
    this.percentile = percentile;
    this.#snap(this.made);
    this.set({ threshold: this.snaps.percentile });
    this.commit();
  }

  // --- the brush

  #load() {
    this.brush = this.model.get("brush");
    this.layer = unpacked(this.brush, this.area);
    this.past = [];
    this.future = [];
    this.#renew();
  }

  begin() {
    this.held = true;
    this.before = this.layer;
  }

  // Cells become in the mask (1) or out of it (-1).
  stroke(cells, sign) {
    const layer = this.layer.slice();
    for (const cell of cells) layer[cell] = sign;
    this.layer = layer;
    this.#renew();
  }

  end() {
    this.held = false;
    if (this.layer.every((cell, i) => cell === this.before[i])) return;
    this.past = [...this.past, this.before].slice(-KEEP);
    this.future = [];
    this.#keep();
  }

  undo() { this.#step(this.past, this.future); }
  redo() { this.#step(this.future, this.past); }

  clear() {
    this.begin();
    this.layer = new Int8Array(this.area);
    this.end();
  }

  #step(from, to) {
    if (!from.length || this.held) return;
    to.push(this.layer);
    this.layer = from.pop();
    this.#keep();
  }

  #keep() {
    this.brush = packed(this.layer);
    this.#renew();
    this.commit();
  }

  // --- to the kernel

  commit() {
    this.save.cancel();
    const { model } = this, changed = [...CHOICES, "brush"].filter(name => model.get(name) !== this[name]);
    if (!changed.length) return;
    for (const name of changed) model.set(name, this[name]);
    model.set("_timing", this.clock.summary());
    model.save_changes();
  }

  close() {
    this.save.cancel();
    this.measure.cancel();
    this.clock.close();
  }
}

// The hand on the picture: it paints cells, or moves the curtain, by pointer or by keys.
class Hand {
  #mode = null;

  constructor(choice, frame, signal, changed) {
    Object.assign(this, { choice, frame, changed, tool: "look", size: 3, cell: null });
    this.mark = element("div", { className: "kit-mark", hidden: true });
    this.handle = element("div", { className: "kit-curtain", tabIndex: 0, role: "slider", "aria-label": "Curtain, share of the picture",
      "aria-valuemin": 0, "aria-valuemax": 100 });
    frame.append(this.mark, this.handle);
    const on = (node, type, hear) => node.addEventListener(type, hear, { signal });
    on(frame, "pointerdown", event => this.#press(event));
    on(frame, "pointermove", event => this.#move(event));
    on(frame, "pointerup", () => this.#release());
    on(frame, "pointercancel", () => this.#release());
    on(frame, "pointerleave", () => { if (!this.#mode) this.#at(null); });
    on(frame, "keydown", event => { if (event.target === frame) this.#key(event); });
    on(frame, "blur", () => this.#at(null));
    on(this.handle, "keydown", event => this.#keyCurtain(event));
    signal.addEventListener("abort", () => { if (this.#mode === "brush") choice.held = false; });
  }

  show() {
    const { choice, mark, handle, frame } = this;
    handle.hidden = choice.view !== "curtain";
    handle.style.left = percent(choice.curtain);
    place(handle, { "aria-valuenow": Math.round(100 * choice.curtain) });
    frame.dataset.tool = this.tool;
    mark.hidden = !this.cell;
    if (!this.cell) return;
    const [column, row] = this.cell, reach = this.tool === "look" ? 0 : (this.size - 1) / 2;
    Object.assign(mark.style, { left: percent((column - reach) / choice.width), top: percent((row - reach) / choice.height),
      width: percent((1 + 2 * reach) / choice.width), height: percent((1 + 2 * reach) / choice.height) });
  }

  #at(cell) {
    this.cell = cell;
    this.changed();
  }

  #cellOf(event) {
    const box = this.frame.getBoundingClientRect(), { width, height } = this.choice;
    return [clamp(Math.floor((event.clientX - box.left) / box.width * width), 0, width - 1),
      clamp(Math.floor((event.clientY - box.top) / box.height * height), 0, height - 1)];
  }

  #press(event) {
    if (event.button || (this.tool === "look" && this.choice.view !== "curtain")) return;
    this.frame.setPointerCapture(event.pointerId);
    this.#mode = this.tool === "look" ? "curtain" : "brush";
    if (this.#mode === "brush") this.choice.begin();
    this.#move(event);
  }

  #move(event) {
    if (this.#mode) this.choice.clock.input(event);
    const cell = this.#cellOf(event);
    if (this.#mode === "curtain") this.#draw(event);
    if (this.#mode === "brush") this.choice.stroke(this.#path(this.stroked ?? cell, cell), this.tool === "add" ? 1 : -1);
    this.stroked = this.#mode === "brush" ? cell : null;
    this.#at(cell);
  }

  #draw(event) {
    const box = this.frame.getBoundingClientRect();
    this.choice.curtain = clamp((event.clientX - box.left) / box.width, 0, 1);
  }

  #release() {
    if (this.#mode === "brush") this.choice.end();
    this.#mode = this.stroked = null;
  }

  // The cells under the brush on its straight way, for a fast hand skips some.
  #path([fromColumn, fromRow], [column, row]) {
    const steps = Math.max(1, Math.abs(column - fromColumn), Math.abs(row - fromRow)), cells = new Set();
    for (let step = 0; step <= steps; step++) {
      const along = (from, to) => Math.round(from + (to - from) * step / steps);
      for (const cell of this.#disc(along(fromColumn, column), along(fromRow, row))) cells.add(cell);
    }
    return cells;
  }

  #disc(column, row) {
    const { width, height } = this.choice, reach = (this.size - 1) / 2, cells = [];
    for (let y = -reach; y <= reach; y++) {
      for (let x = -reach; x <= reach; x++) {
        const inside = column + x >= 0 && column + x < width && row + y >= 0 && row + y < height;
        if (inside && x * x + y * y <= this.size * this.size / 4) cells.push((row + y) * width + column + x);
      }
    }
    return cells;
  }

  #key(event) {
    const { choice } = this, [column, row] = this.cell ?? [choice.width >> 1, choice.height >> 1], far = event.shiftKey ? 5 : 1;
    const undo = (event.ctrlKey || event.metaKey) && { z: event.shiftKey ? "redo" : "undo", Z: "redo", y: "redo" }[event.key];
    const way = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] }[event.key];
    const sign = { Enter: this.tool === "erase" ? -1 : 1, " ": this.tool === "erase" ? -1 : 1, Delete: -1, Backspace: -1 }[event.key];
    if (!undo && !way && !sign) return;
    event.preventDefault();
    choice.clock.input(event);
    if (undo) choice[undo]();
    else if (sign) this.#dab([column, row], sign);
    this.#at(way ? [clamp(column + way[0], 0, choice.width - 1), clamp(row + way[1], 0, choice.height - 1)] : [column, row]);
  }

  #dab(cell, sign) {
    this.choice.begin();
    this.choice.stroke(this.#disc(...cell), sign);
    this.choice.end();
  }

  #keyCurtain(event) {
    const { curtain } = this.choice, step = event.shiftKey ? 0.1 : 0.02;
    const target = { ArrowLeft: curtain - step, ArrowRight: curtain + step, Home: 0, End: 1 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.choice.curtain = clamp(target, 0, 1);
    this.changed();
  }
}

class View {
  constructor(model, choice, root, signal) {
    Object.assign(this, { model, choice, root, signal });
    this.frameAsked = debounceFrame(() => this.#show());
    this.#build();
    choice.join({ paint: () => this.frameAsked(), measure: () => this.#measure() }, signal);
    signal.addEventListener("abort", () => this.frameAsked.cancel());
    this.#open();
  }

  async #open() {
    const data = this.model.get("_operands").picture;
    const bitmap = await createImageBitmap(new Blob([new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]));
    this.veil.load(bitmap);
    bitmap.close();
    this.frameAsked();
    this.#measure();
  }

  // --- the page

  #build() {
    const { choice, signal } = this;
    this.canvas = element("canvas", { role: "img" });
    this.frame = element("div", { className: "kit-frame", tabIndex: 0, role: "application",
      "aria-label": "Cells of the picture. Arrow keys move, Enter paints in, Delete erases, Control Z undoes" }, this.canvas);
    this.veil = new Veil(choice, this.canvas);
    this.frame.style.aspectRatio = `${this.veil.width} / ${this.veil.height}`;
    this.hand = new Hand(choice, this.frame, signal, () => this.frameAsked());
    this.level = new Level(choice, signal);
    this.noises = choice.count > 1 ? new Noises(choice, signal) : null;
    this.title = element("header", {}, element("span", { className: "kit-title" }));
    this.hover = element("span", { className: "kit-said", role: "status" });
    this.card = element("div", { className: "kit-card" }, this.title,
      element("div", { className: "kit-sides" },
        element("div", { className: "kit-left-side" }, this.frame, this.hover, this.#looks(), this.#brushes()),
        element("div", { className: "kit-right-side" }, this.#threshold(), ...(this.noises ? [this.noises.node] : []), this.#used())));
    this.root.append(this.card);
  }

  #button(text, title, press) {
    const made = element("button", { type: "button", className: "kit-button", title }, text);
    made.addEventListener("click", press, { signal: this.signal });
    return made;
  }

  #group(label, ...nodes) {
    return element("div", { className: "kit-group", role: "group", "aria-label": label }, element("span", {}, label),
      element("div", {}, ...nodes));
  }

  #choose(change) {
    this.choice.set(change);
    this.choice.commit();
  }

  #looks() {
    const { choice } = this;
    this.views = Object.entries(VIEWS).map(([view, title]) => [view, this.#button(view, title, () => this.#choose({ view }))]);
    const toggle = (name, text, title) => [name, this.#button(text, title, () => this.#choose({ [name]: !choice[name] }))];
    this.toggles = [toggle("smooth", "smooth", "the map interpolated between its cells, not each cell as it is (nearest)"),
      toggle("grid", "grid", "the cells of the map, those of the latent")];
    if (choice.deviation) this.toggles.push(toggle("doubt", "in doubt", "cells within two standard errors of the threshold: other noises might change them"));
    if (choice.truth) this.toggles.push(toggle("outline", "truth", "the outline of the true mask"));
    const nodes = rows => rows.map(([, node]) => node);
    return element("div", { className: "kit-tools" }, this.#group("View", ...nodes(this.views)),
      this.#group("Show", ...nodes(this.toggles)));
  }

  #brushes() {
    const { choice, hand } = this, use = change => () => { Object.assign(hand, change); this.frameAsked(); };
    this.tools = [["look", "off", "no brush"], ["add", "add", "paint cells into the mask"], ["erase", "erase", "take cells out of the mask"]]
      .map(([tool, text, title]) => [tool, this.#button(text, title, use({ tool }))]);
    this.sizes = BRUSHES.filter(size => size <= Math.min(choice.width, choice.height))
      .map(size => [size, this.#button(String(size), `${size} cells wide`, use({ size }))]);
    this.undo = this.#button("undo", "take the last stroke back (Control Z)", () => choice.undo());
    this.redo = this.#button("redo", "put it back again (Control Shift Z)", () => choice.redo());
    this.clear = this.#button("clear", "take back all that is painted", () => choice.clear());
    const nodes = rows => rows.map(([, node]) => node);
    return element("div", { className: "kit-tools" }, this.#group("Brush", ...nodes(this.tools)),
      this.#group("Width", ...nodes(this.sizes)), this.#group("Strokes", this.undo, this.redo, this.clear));
  }

  #threshold() {
    const { choice, signal } = this;
    this.wrong = element("div", { className: "kit-wrong", role: "alert" });
    const hear = take => (value, wrong) => {
      say(this.wrong, value === null ? wrong : "");
      if (value !== null) take(value);
    };
    this.typed = typed("threshold", 0, 1, hear(threshold => this.#choose({ threshold })), signal);
    this.percentile = typed("percentile", 0, 100, hear(value => choice.atPercentile(value)), signal);
    this.percentile.value = String(choice.percentile);
    const titles = { paper: "the paper's threshold", Otsu: "the greatest variance between the two sides (Otsu)",
      percentile: "the map's value at this percentile" };
    this.snaps = Object.entries(titles).map(([name, title]) =>
      [name, this.#button("", title, () => this.#choose({ threshold: choice.snaps[name] }))]);
    return element("section", {}, element("h4", {}, element("label", {}, element("span", {}, "Threshold"), this.typed),
      element("span", { className: "kit-side" }, "number of cells by value, log scale")),
      this.level.plot, this.level.axis,
      element("div", { className: "kit-tools" }, this.#group("Snap to", ...this.snaps.map(([, node]) => node)),
        element("label", { className: "kit-percent" }, this.percentile, "%")), this.wrong);
  }

  #used() {
    this.thumbnail = element("canvas", { className: "kit-pixelated", role: "img", width: this.choice.width, height: this.choice.height });
    const names = ["coverage", "components", ...(this.choice.truth ? ["IoU with the truth"] : []), "painted"];
    this.values = Object.fromEntries(names.map(name => [name, element("dd", {})]));
    const { width, height } = this.choice;
    const list = element("dl", {}, ...names.map(name => element("div", {}, element("dt", {}, name), this.values[name])));
    return element("section", { className: "kit-used" },
      element("div", { className: "kit-thumbnail" }, this.thumbnail),
      element("div", {}, element("h4", {}, "Mask actually used"), list,
        element("div", { className: "kit-said" }, element("code", {}, "picker.mask"), `, bool, ${height} × ${width} cells`)));
  }

  // --- what it shows

  #show() {
    const { choice, hand } = this;
    this.veil.draw();
    choice.clock.painted();
    hand.show();
    this.level.show();
    this.noises?.show();
    this.#mask();
    this.#write();
  }

  #mask() {
    const { width, height, mask } = this.choice;
    if (this.masked === mask) return;
    this.masked = mask;
    const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < mask.length; i++) pixels[i] = mask[i] ? 0xffffffff : 0xff000000;
    this.thumbnail.getContext("2d").putImageData(image, 0, 0);
    place(this.thumbnail, { "aria-label": `Mask actually used, covers ${this.choice.covers}` });
  }

  #write() {
    const { choice, hand, values } = this, title = this.model.get("title");
    say(this.title.firstChild, title);
    this.title.hidden = !title;
    if (document.activeElement !== this.typed) this.typed.value = fixed(choice.threshold, 3);
    for (const [name, button] of this.snaps) {
      say(button, `${name} ${fixed(choice.snaps[name])}`);
      place(button, { "aria-pressed": choice.threshold === choice.snaps[name] });
    }
    const press = (rows, value) => rows.forEach(([name, button]) => place(button, { "aria-pressed": name === value }));
    press(this.views, choice.view);
    press(this.tools, hand.tool);
    press(this.sizes, hand.size);
    for (const [name, button] of this.toggles) place(button, { "aria-pressed": choice[name] });
    for (const [button, on] of [[this.undo, choice.past.length], [this.redo, choice.future.length], [this.clear, choice.brush !== ""]]) button.disabled = !on;
    say(values.coverage, choice.covers);
    if (choice.truth) say(values["IoU with the truth"], fixed(overlap(choice.mask, choice.truth)));
    say(values.painted, this.#painted());
    say(this.hover, this.#underHand());
    place(this.canvas, { "aria-label": `The picture, ${VIEWS[choice.view]}` });
  }

  #painted() {
    const { layer } = this.choice;
    if (this.counted !== layer) {
      let added = 0, erased = 0;
      for (let i = 0; i < layer.length; i++) layer[i] > 0 ? added++ : layer[i] < 0 && erased++;
      Object.assign(this, { counted: layer, painted: added || erased ? `+${added} −${erased} cells` : "nothing" });
    }
    return this.painted;
  }

  #underHand() {
    const { choice } = this, { cell } = this.hand;
    if (!cell) return choice.smooth ? "shown interpolated; the mask used is by cell" : "";
    const [column, row] = cell, at = row * choice.width + column;
    const painted = { 1: ", painted in", "-1": ", erased" }[choice.layer[at]] ?? "";
    return `row ${row}, column ${column}: ${fixed(choice.made.map[at], 3)}, ${choice.mask[at] ? "in" : "not in"} the mask${painted}`;
  }

  #measure() {
    say(this.values.components, String(components(this.choice.mask, this.choice.width)));
    this.noises?.measure();
  }
}

export default () => asWidget("kit-mask", (model, root, signal, choice) => new View(model, choice, root, signal),
  model => new Choice(model));
