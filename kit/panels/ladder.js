// A teacher's path and its students' over one axis of time; the chosen step of a student is set beside the two above.

const ARCS = 30, LABEL = 20, BETWEEN = 10, AXIS = 34, GAP = 16;

const levelOf = t => t < 0 ? "clean" : `t = ${t}`;
const endOf = t => t < 0 ? "the clean end" : `t = ${t}`;

// What all views of a model share: every picture, decoded once, and which step is chosen.
class Choice {
  #views = new Set();

  constructor(model) {
    this.model = model;
    this.times = model.get("times");
    this.bitmaps = [];
    this.loaded = this.#load(model.get("_pictures"));
    model.on("change:at", () => this.tell());
  }

  async #load({ lengths, blob }) {
    this.bitmaps = await Promise.all(apart(blob, lengths).map(decoded));
    this.tell();
  }

  get at() { return this.model.get("at"); }

  steps(rung) { return this.times[rung].length - 1; }

  bitmap(rung, state) {
    return this.bitmaps[this.times.slice(0, rung).reduce((sum, times) => sum + times.length, state)];
  }

  // {target, said, residual} of a step, or undefined.
  lesson([rung, step]) {
    const place = this.model.get("lessons").findIndex(([r, s]) => r === rung && s === step);
    if (place < 0) return undefined;
    const start = this.times.flat().length + 2 * place;
    return { target: this.bitmaps[start], said: this.bitmaps[start + 1], residual: this.model.get("lessons")[place][2] };
  }

  choose([rung, step]) {
    const at = [clamp(rung, 1, this.times.length - 1), 0];
    at[1] = clamp(step, 0, this.steps(at[0]) - 1);
    if (String(at) === String(this.at)) return;
    this.model.set("at", at);
    this.model.save_changes();
  }

  join(view, signal) {
    this.#views.add(view);
    signal.addEventListener("abort", () => this.#views.delete(view));
  }

  tell() { for (const view of this.#views) view(); }

  async close() {
    await this.loaded;
    release(this.bitmaps);
    this.bitmaps = [];
  }
}

// `one` less `other`, multiplied, about a middle grey.
function subtract(canvas, one, other, gain) {
  const { width, height } = one, context = canvas.getContext("2d");
  const read = bitmap => {
    const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(bitmap, 0, 0);
    return copy.getImageData(0, 0, width, height);
  };
  const made = read(one), { data } = read(other);
  for (let i = 0; i < data.length; i++) if (i % 4 < 3) made.data[i] = 127.5 + gain / 2 * (made.data[i] - data[i]);
  canvas.width = width;
  canvas.height = height;
  context.putImageData(made, 0, 0);
}

// A large picture with what it is written under it.
class Picture {
  constructor(className = "") {
    this.canvas = element("canvas", { role: "img" });
    this.frame = element("div", { className: "kit-frame" }, this.canvas);
    this.name = element("strong", {});
    this.note = element("span", {});
    this.node = element("figure", { className }, this.frame, element("figcaption", {}, this.name, this.note));
  }

  #write(name, note) {
    say(this.name, name);
    say(this.note, note);
    place(this.canvas, { "aria-label": `${name}, ${note}` });
    this.canvas.classList.toggle("kit-pixelated", Math.max(this.canvas.width, this.canvas.height) <= 64);
  }

  show(bitmap, name, note) {
    if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height) {
      Object.assign(this.canvas, { width: bitmap.width, height: bitmap.height });
    }
    this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
    this.#write(name, note);
  }

  subtract(one, other, gain, name, note) {
    subtract(this.canvas, one, other, gain);
    this.#write(name, note);
  }
}

class View {
  #hovered = null;
  #drawn = null;

  constructor(model, choice, root, signal) {
    Object.assign(this, { model, choice, root, signal });
    this.paint = debounceFrame(() => this.#show());
    this.#build();
    choice.join(() => this.paint(), signal);
    const observer = new ResizeObserver(() => this.#resize());
    observer.observe(root);
    signal.addEventListener("abort", () => { observer.disconnect(); this.paint.cancel(); });
  }

  // --- the page

  #build() {
    const { model, choice } = this;
    this.span = element("div", { className: "kit-span" }, element("i", {}));
    this.rungs = choice.times.map((times, rung) => this.#rung(times, rung));
    this.axis = element("div", { className: "kit-axis", "aria-hidden": "true" });
    this.ladder = element("div", { className: "kit-ladder", role: "group", "aria-label": "Steps of the students" },
      this.span, ...this.rungs.flatMap(({ label, arcs, thumbs }) => [label, ...arcs, ...thumbs]), this.axis);
    this.ladder.addEventListener("keydown", event => this.#key(event), { signal: this.signal });
    this.card = element("div", { className: "kit-card" },
      element("header", {}, element("span", { className: "kit-title" }, model.get("title")),
        element("span", { className: "kit-state" }, "choose a step of a student")),
      this.ladder, this.#detail());
    this.root.append(this.card);
  }

  #rung(times, rung) {
    const { choice, model } = this, name = model.get("names")[rung];
    const apart = rung ? model.get("apart")[rung - 1] : [];
    const note = rung ? `ends ${fixed(apart.at(-1), 3)} (RMS) from the rung above` : "the teacher";
    const label = element("div", { className: "kit-rung" }, element("strong", {}, name), element("span", {}, note));
    const arcs = times.slice(1).map((_, step) => rung ? this.#step(rung, step) : element("div", { className: "kit-arc" }));
    const thumbs = times.map(t => element("canvas", { className: "kit-thumb", role: "img", "aria-label": `${name}, ${levelOf(t)}` }));
    return { label, arcs, thumbs };
  }

  #step(rung, step) {
    const { choice, signal } = this, times = choice.times[rung], name = this.model.get("names")[rung];
    const button = element("button", { type: "button", className: "kit-arc",
      "aria-label": `${name}: step ${step + 1} of ${times.length - 1}, ${levelOf(times[step])} to ${endOf(times[step + 1])}` });
    button.dataset.lmSuppressShortcuts = "true";
    const on = (type, hear) => button.addEventListener(type, hear, { signal });
    on("click", () => choice.choose([rung, step]));
    on("pointerenter", ({ pointerType }) => { if (pointerType !== "touch") this.#hover([rung, step]); });
    on("pointerleave", () => this.#hover(null));
    return button;
  }

  #detail() {
    this.sentence = element("p", { className: "kit-sentence", "aria-live": "polite" });
    this.above = [new Picture(), new Picture(), new Picture()];
    this.own = [new Picture(), new Picture("kit-end")];
    this.jump = element("div", { className: "kit-jump", "aria-hidden": "true" }, element("span", {}, "one step"));
    this.difference = new Picture("kit-difference");
    this.rms = element("dd", {});
    this.start = element("dd", {});
    this.taught = [new Picture(), new Picture(), new Picture()];
    this.head = element("h4", {});
    this.lesson = element("section", { className: "kit-lesson" }, this.head,
      element("div", {}, ...this.taught.map(({ node }) => node)));
    return element("div", { className: "kit-detail" }, this.sentence,
      element("div", { className: "kit-both" },
        element("div", { className: "kit-steps" }, ...this.above.map(({ node }) => node), this.difference.node,
          this.own[0].node, this.jump, this.own[1].node,
          element("dl", { className: "kit-measures" }, element("div", {}, element("dt", {}, "apart at the end"), this.rms),
            element("div", {}, element("dt", {}, "at the start"), this.start))),
        this.lesson));
  }

  #hover(at) {
    this.#hovered = at;
    this.paint();
  }

  #key(event) {
    const [rung, step] = this.choice.at;
    const target = { ArrowLeft: [rung, step - 1], ArrowRight: [rung, step + 1], ArrowUp: [rung - 1, 2 * step],
      ArrowDown: [rung + 1, Math.floor(step / 2)], Home: [rung, 0], End: [rung, Infinity] }[event.key];
    if (!target || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (target[0] < 1 || target[0] >= this.rungs.length) return;
    this.#hovered = null;
    this.choice.choose(target);
    const [chosen, at] = this.choice.at;
    this.rungs[chosen].arcs[at].focus();
  }

  // --- where everything is

  #resize() {
    const width = this.root.clientWidth - 2 * GAP;
    if (width <= 0) return;
    const finest = this.choice.times[0], [w, h] = this.model.get("size");
    this.width = Math.min(width, 1068);
    this.card.style.width = `${this.width}px`;
    this.card.dataset.wide = this.width >= 860;
    this.card.style.setProperty("--kit-ratio", w / h);
    const near = Math.min(...finest.slice(1).map((t, i) => finest[i] - t)) / (finest[0] + 1);
    this.side = clamp(Math.floor((this.width * near) / (1 + near) - 6), 18, 64);
    const [thumb, high] = [this.side * w / Math.max(w, h), this.side * h / Math.max(w, h)];
    const x = t => thumb / 2 + (finest[0] - t) / (finest[0] + 1) * (this.width - thumb), row = LABEL + ARCS + high + BETWEEN;
    Object.assign(this, { x, row, high });
    this.rungs.forEach(({ label, arcs, thumbs }, rung) => {
      const times = this.choice.times[rung], top = rung * row;
      label.style.top = `${top}px`;
      arcs.forEach((arc, step) => this.#arc(arc, x(times[step]), x(times[step + 1]), top + LABEL));
      thumbs.forEach((canvas, state) => Object.assign(canvas.style,
        { left: `${x(times[state]) - thumb / 2}px`, top: `${top + LABEL + ARCS}px`, width: `${thumb}px`, height: `${high}px` }));
    });
    const bottom = this.rungs.length * row;
    this.ladder.style.height = `${bottom + AXIS}px`;
    this.axis.style.top = `${bottom}px`;
    this.#ticks(finest, x);
    this.#drawn = null;
    this.#show();
  }

  #arc(arc, from, to, top) {
    const wide = to - from, foot = ARCS - 2, end = wide - 4, lean = Math.atan2(foot - 3, 0.2 * wide) * 180 / Math.PI;
    const box = drawn("svg", { viewBox: `0 0 ${wide} ${ARCS}`, width: wide, height: ARCS, "aria-hidden": "true" },
      drawn("path", { d: `M4 ${foot}C${0.2 * wide} 3 ${0.8 * wide} 3 ${end} ${foot}` }),
      drawn("path", { class: "kit-tip", d: "M0 0l-9 -4v8z", transform: `translate(${end} ${foot}) rotate(${lean})` }));
    arc.replaceChildren(box);
    Object.assign(arc.style, { left: `${from}px`, top: `${top}px`, width: `${wide}px`, height: `${ARCS}px` });
  }

  #ticks(times, x) {
    const room = (x(times.at(-1)) - x(times[0])) / (times.length - 1), every = room >= 34 ? 1 : room >= 17 ? 2 : 4;
    this.axis.replaceChildren(...times.flatMap((t, i) => {
      if (i % every) return [];
      const tick = element("span", {}, t < 0 ? "clean" : String(t));
      tick.style.left = `${x(t)}px`;
      return [tick];
    }), element("em", {}, "t"));
  }

  // --- painting

  #show() {
    const { choice } = this;
    if (!choice.bitmaps.length || !this.x) return;
    if (this.#drawn !== choice.bitmaps) this.#thumbnails();
    this.#drawn = choice.bitmaps;
    const at = this.#hovered ?? choice.at;
    this.#light(at);
    this.#compare(at);
    this.#teach(at);
  }

  #thumbnails() {
    const ratio = devicePixelRatio;
    this.rungs.forEach(({ thumbs }, rung) => thumbs.forEach((canvas, state) => {
      const bitmap = this.choice.bitmap(rung, state);
      canvas.width = Math.round(parseFloat(canvas.style.width) * ratio);
      canvas.height = Math.round(parseFloat(canvas.style.height) * ratio);
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    }));
  }

  #light([rung, step]) {
    const [chosen, own] = this.choice.at;
    this.rungs.forEach(({ arcs, thumbs }, r) => {
      arcs.forEach((arc, s) => {
        arc.classList.toggle("kit-lit", r === rung && s === step);
        arc.classList.toggle("kit-under", r === rung - 1 && Math.floor(s / 2) === step);
        if (r) place(arc, { "aria-pressed": r === chosen && s === own, tabindex: r === chosen && s === own ? 0 : -1 });
      });
      thumbs.forEach((thumb, s) => thumb.classList.toggle("kit-lit",
        r === rung ? s === step || s === step + 1 : r === rung - 1 && s >= 2 * step && s <= 2 * step + 2));
    });
    const { x, row } = this, times = this.choice.times[rung], middle = this.choice.times[rung - 1][2 * step + 1];
    const [left, right] = [x(times[step]), x(times[step + 1])];
    Object.assign(this.span.style, { left: `${left}px`, width: `${right - left}px`, top: `${(rung - 1) * row + LABEL}px`, height: `${2 * row - LABEL - BETWEEN}px` });
    this.span.firstChild.style.left = `${x(middle) - left}px`;
  }

  #compare([rung, step]) {
    const { choice, model } = this, [teacher, student] = model.get("names").slice(rung - 1, rung + 1);
    const times = choice.times[rung - 1].slice(2 * step, 2 * step + 3), gain = model.get("gain"), distances = model.get("apart")[rung - 1];
    this.above.forEach((picture, i) => picture.show(choice.bitmap(rung - 1, 2 * step + i), teacher, levelOf(times[i])));
    this.own.forEach((picture, i) => picture.show(choice.bitmap(rung, step + i), student, levelOf(times[2 * i])));
    this.difference.subtract(choice.bitmap(rung, step + 1), choice.bitmap(rung - 1, 2 * step + 2), gain,
      "below − above", `× ${gain}; grey: none`);
    say(this.rms, `${fixed(distances[step], 4)} RMS`);
    say(this.start, step ? `${fixed(distances[step - 1], 4)} RMS` : "the same noise");
    const size = choice.steps(rung);
    say(this.sentence, `“${student}”, step ${step + 1} of ${size}, goes from ${levelOf(times[0])} to ${endOf(times[2])} at once; “${teacher}” takes two steps, by way of ${levelOf(times[1])}.`.replaceAll("t = ", "t\u00a0=\u00a0"));
  }

  #teach(at) {
    const lesson = this.choice.lesson(at), gain = this.model.get("lesson_gain");
    this.lesson.hidden = !this.model.get("lessons").length;
    this.lesson.classList.toggle("kit-none", !lesson);
    say(this.head, lesson ? "What the student was taught here, and what it says" : "No lesson was kept of this step");
    if (!lesson) return;
    const [target, said, residual] = this.taught;
    target.show(lesson.target, "target x̃", "from the two steps above");
    said.show(lesson.said, "the student's x̂", "says this");
    residual.subtract(lesson.said, lesson.target, gain, "x̂ − x̃", `× ${gain}; residual ${lesson.residual.toPrecision(3)}`);
  }
}

export default () => asWidget("kit-distilled", (model, root, signal, choice) => new View(model, choice, root, signal),
  model => new Choice(model));
