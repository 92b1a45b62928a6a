// Two drawings of guidance: where in t it acts, to be dragged; and what it does to lengths and angles.

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
    this.corner = element("span", { className: "kit-corner" });
    this.hint = element("span", { className: "kit-hint" }, "drag a rectangle");
    this.plot = element("div", { className: "kit-plot" },
      drawn("svg", { "aria-hidden": "true" }, this.grid, this.area, ...this.stems, this.line, this.now),
      this.levels, this.corner, this.high, this.low);
    this.head = element("div", { className: "kit-head", tabIndex: this.t.length > 1 ? 0 : -1, role: "slider",
      "aria-label": "Step shown", "aria-valuemin": 0, "aria-valuemax": this.t.length - 1 });
    this.axis = element("div", { className: "kit-axis" }, this.head, ...this.#times());
    this.title = element("span", {});
    this.all = element("button", { type: "button", className: "kit-button" }, "all t");
    this.node = element("section", { className: "kit-pad" },
      element("h4", {}, this.title, this.hint, this.all), this.plot, this.axis);
  }

  #times() {
    return [this.T - 1, ...[3, 2, 1, 0].map(quarters => Math.round(this.T * quarters / 4))].map(t => {
      const tick = element("i", {}, element("span", {}, t === this.T - 1 ? `t = ${t}` : String(t)));
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
    for (const [node, t] of [[this.high, high], [this.low, low]]) {
      node.style.left = percent(this.x(t));
      node.style.setProperty("--kit-middle", percent((top + bottom) / 2));
      place(node, { "aria-valuenow": t, "aria-valuetext": `t ${t}` });
    }
    place(this.head, { "aria-valuenow": at, "aria-valuetext": `t ${this.t[at]}` });
    say(this.title, interval.length ? `Guidance at t from ${high} to ${low}` : "Guidance at all t");
    this.hint.hidden = interval.length > 0;
    this.all.hidden = !interval.length;
  }

  #levels(scale, y) {
    this.scale = scale;
    say(this.corner, this.choice.dialName);
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
    const key = (name, text) => element("span", { className: `kit-key kit-${name}` }, text);
    this.node = element("section", { className: "kit-plane" }, element("h4", {}, "Lengths and angles"),
      drawn("svg", { viewBox: `0 0 ${Plane.width} ${Plane.height}`, role: "img",
        "aria-label": "u, c and the guided prediction as arrows in their plane; the arc has the length of u" },
      this.arc, this.ray, ...Object.values(this.arrows), this.tip, ...Object.values(this.names)),
      element("div", { className: "kit-keys" }, key("guided", "guided"), key("arc", "the length of u")));
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
