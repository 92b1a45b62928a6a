// The threshold as a line over the histogram of a map, and the number of noises under what it leaves in doubt.

const BINS = 64, STICKY = 5, STEP = 0.01, DOUBT = { width: 100, height: 40 }, SLICE = 2;
const NAME = { top: 26, height: 36, near: 0.06 };  // of a mark, written downwards: pixels; marks whose names would meet

// How many cells have which value, in a logarithmic scale; those above the threshold are in the mask.
class Level {
  #held = false;

  constructor(choice, signal) {
    this.choice = choice;
    this.bars = ["kit-below", "kit-above"].map(name => drawn("path", { class: name }));
    this.levels = element("div", { className: "kit-levels" });
    this.snaps = element("div", { className: "kit-snaps" });
    this.bubble = element("span", {});
    this.line = element("div", { className: "kit-threshold", tabIndex: 0, role: "slider", "aria-label": "Threshold",
      "aria-valuemin": 0, "aria-valuemax": 1 }, element("div", { className: "kit-grip" }), this.bubble);
    this.plot = element("div", { className: "kit-level" },
      drawn("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" }, ...this.bars),
      this.levels, this.snaps, this.line);
    this.axis = element("div", { className: "kit-values", "aria-hidden": "true" }, ...[0, 0.25, 0.5, 0.75, 1].map(value => {
      const tick = element("span", {}, String(value));
      tick.style.left = percent(value);
      return tick;
    }));
    const on = (node, type, hear) => node.addEventListener(type, hear, { signal });
    on(this.plot, "pointerdown", event => this.#press(event));
    on(this.plot, "pointermove", event => { if (this.#held) this.#drag(event); });
    on(this.plot, "pointerup", () => this.#release());
    on(this.plot, "pointercancel", () => this.#release());
    on(this.line, "keydown", event => this.#key(event));
    on(this.line, "keyup", () => choice.commit());
    on(this.line, "blur", () => { if (!choice.held) choice.commit(); });
    signal.addEventListener("abort", () => { if (this.#held) choice.held = false; });
  }

  show() {
    const { choice } = this, { threshold } = choice;
    if (this.shown !== choice.made) this.#count(this.shown = choice.made);
    this.line.style.left = percent(threshold);
    this.bars[1].style.clipPath = `inset(0 0 0 ${percent(threshold)})`;
    say(this.bubble, fixed(threshold, 3));
    this.bubble.classList.toggle("kit-left", threshold > 0.5);
    place(this.line, { "aria-valuenow": threshold, "aria-valuetext": `${fixed(threshold, 3)}, covers ${choice.covers}` });
    if (this.snapped !== choice.snaps) this.#name(this.snapped = choice.snaps);
  }

  // The marks; the name of one that is near the last stands under the last one's.
  #name(snaps) {
    let row = 0, last = -1;
    this.snaps.replaceChildren(...Object.entries(snaps).sort(([, a], [, b]) => a - b).map(([name, value]) => {
      row = value - last < NAME.near ? row + 1 : 0;
      last = value;
      const label = element("span", {}, name === "percentile" ? `${this.choice.percentile} %` : name);
      const mark = element("i", {}, label);
      mark.style.left = percent(value);
      label.style.top = `${NAME.top + row * NAME.height}px`;
      return mark;
    }));
  }

  #count({ map }) {
    const counts = new Uint32Array(BINS);
    for (let i = 0; i < map.length; i++) counts[Math.min(BINS - 1, Math.floor(map[i] * BINS))] += 1;
    const most = counts.reduce((a, b) => Math.max(a, b), 1), height = count => Math.log1p(count) / Math.log1p(most);
    let d = "M0 1";
    counts.forEach((count, bin) => { d += `V${1 - height(count)}H${(bin + 1) / BINS}`; });
    this.bars.forEach(bars => place(bars, { d: `${d}V1Z` }));
    const tens = Array.from({ length: 7 }, (_, power) => 10 ** power).filter(count => count <= most);
    this.levels.replaceChildren(...tens.map(count => {
      const level = element("span", {}, String(count));
      level.style.top = percent(1 - height(count));
      return level;
    }));
  }

  #set(threshold, event) {
    this.choice.clock.input(event);
    this.choice.set({ threshold: clamp(threshold, 0, 1) });
  }

  // The line stops at the marks it comes near, unless Alt is held.
  #drag(event) {
    const box = this.plot.getBoundingClientRect(), at = (event.clientX - box.left) / box.width;
    const near = Object.values(this.choice.snaps).find(snap => Math.abs(snap - at) * box.width < STICKY);
    this.#set(near === undefined || event.altKey ? rounded(at, 0.001) : near, event);
  }

  #press(event) {
    if (event.button) return;
    this.plot.setPointerCapture(event.pointerId);
    this.#held = this.choice.held = true;
    this.#drag(event);
  }

  #release() {
    if (!this.#held) return;
    this.#held = this.choice.held = false;
    this.choice.commit();
  }

  #key(event) {
    const { threshold } = this.choice, stride = strides(event, STEP);
    const target = { ArrowLeft: threshold - stride, ArrowDown: threshold - stride, ArrowRight: threshold + stride,
      ArrowUp: threshold + stride, PageDown: threshold - 0.1, PageUp: threshold + 0.1, Home: 0, End: 1 }[event.key];
    if (event.ctrlKey || event.metaKey || target === undefined) return;
    event.preventDefault();
    this.#set(rounded(target, 0.001), event);
  }
}

// n, and the share of cells that other noises might put on the threshold's other side, for every n.
class Noises {
  constructor(choice, signal) {
    const { count } = choice, step = Math.ceil(count / 10);
    const marks = Array.from({ length: count }, (_, i) => i + 1).filter(n => n === 1 || n % step === 0);
    // Half a step stays free at either end, as in the curve above.
    SCALES.samples = { low: 1, high: count, step: 1, origin: 1, marks,
      share: n => (n - 0.5) / count, value: share => share * count + 0.5 };
    this.choice = choice;
    this.dial = new Dial(choice, "Number of noises n", signal);
    this.dial.turn("samples");
    this.curve = drawn("path", { class: "kit-curve" });
    this.stem = drawn("line", { class: "kit-stem", y2: DOUBT.height });
    signal.addEventListener("abort", () => clearTimeout(this.timer));
    this.top = element("span", { className: "kit-top" });
    this.title = element("span", {});
    this.doubt = element("span", { className: "kit-side" });
    this.node = element("section", { className: "kit-noises" }, element("h4", {}, this.title, this.doubt),
      element("div", { className: "kit-doubt" },
        drawn("svg", { viewBox: `0 0 ${DOUBT.width} ${DOUBT.height}`, preserveAspectRatio: "none", "aria-hidden": "true" }, this.stem, this.curve),
        this.top),
      this.dial.node);
  }

  show() {
    const { count, samples } = this.choice, x = (samples - 0.5) / count * DOUBT.width;
    this.dial.show();
    say(this.title, `Noises n = ${samples} of ${count}`);
    place(this.stem, { x1: x, x2: x });
  }

  measure() {
    const { choice } = this, { samples, threshold } = choice;
    say(this.doubt, `${inPercent(choice.shareInDoubtAt(samples))} of the cells in doubt`);
    if (this.measured === threshold) return;
    this.measured = threshold;
    this.#count([]);
  }

  // The shares for every n, a few milliseconds at a time: of large maps all at once would keep a hand waiting.
  #count(shares) {
    const { choice } = this, end = performance.now() + SLICE;
    clearTimeout(this.timer);
    while (shares.length < choice.count && performance.now() < end) shares.push(choice.shareInDoubtAt(shares.length + 1));
    if (shares.length < choice.count) this.timer = setTimeout(() => this.#count(shares));
    else this.#curve(shares);
  }

  #curve(shares) {
    const { count } = this.choice;
    const most = Math.max(0.01, ...shares), x = i => (i + 0.5) / count * DOUBT.width;
    place(this.curve, { d: "M" + shares.map((part, i) => `${x(i)} ${(1 - part / most) * DOUBT.height}`).join("L") });
    say(this.top, `${Math.round(100 * most)} %`);
  }
}
