// The forward process in the browser: x_t = sqrt(ᾱ) x0 + sqrt(1 - ᾱ) eps, of two operands that came once.

// A copy, for what comes over a wire may begin anywhere and a Float32Array may not.
const floats = view => new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
const logSnr = alphaBar => Math.log(alphaBar / (1 - alphaBar));

// Means along the middle axis of data (outer, from, inner), over `to` equal stretches of it, which may share values.
function means(data, outer, from, to, inner) {
  const out = new Float32Array(outer * to * inner), size = from / to;
  for (let i = 0; i < to; i++) {
    for (let k = Math.floor(i * size); k < Math.min(from, (i + 1) * size); k++) {
      const share = (Math.min((i + 1) * size, k + 1) - Math.max(i * size, k)) / size;
      for (let o = 0; o < outer; o++) {
        for (let n = 0; n < inner; n++) out[(o * to + i) * inner + n] += share * data[(o * from + k) * inner + n];
      }
    }
  }
  return out;
}

// Stands where Frames stand, but every picture is there at once, made when it is asked for: in byte
// [channel, pixel] stands 255 (signal seen_x0 + noise seen_eps + offset), the operands as they are seen.
class Forward {
  constructor(model) {
    const { x0, eps, values_x0, values_eps, offset } = model.get("_operands");
    const [width, height] = model.get("sizes")[0];
    Object.assign(this, { model, width, height, levels: model.get("levels"), area: width * height });
    this.planes = [floats(x0), floats(eps)];
    this.values = [floats(values_x0), floats(values_eps)];
    this.offset = Array.from({ length: 3 }, (_, c) => offset[c % offset.length]);
    this.channels = offset.length;
    this.small = {};
    this.surfaces = this.levels.map(() => undefined);
  }

  // The chosen schedule's number.
  get track() { return Math.max(0, this.model.get("tracks").indexOf(this.model.get("schedule"))); }

  alphaBar(step) { return this.levels[this.track][step]; }

  // The step at which a schedule is read when the chosen one stands at `step`: the same, or that of equal log-SNR.
  where(track, step) {
    if (this.model.get("axis") !== "log-SNR" || track === this.track) return step;
    const wanted = this.alphaBar(step);  // log-SNR rises with ᾱ, but for ends that are infinite
    const far = alphaBar => Math.abs(squashed(alphaBar) - squashed(wanted));
    return this.levels[track].reduce((best, alphaBar, at, all) => far(alphaBar) < far(all[best]) ? at : best, 0);
  }

  // The factors of x0 and eps in what is shown while the chosen schedule stands at `step`, and the grey of 0.
  mix(track, step) {
    const at = place => {
      const alphaBar = this.levels[track][this.where(track, place)];
      return [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
    };
    const [a, b] = this.model.get("marks");
    if (this.model.get("shown") !== "B − A") return { factors: at(step), offset: this.offset };
    return { factors: [0, 1].map(i => at(b)[i] - at(a)[i]), offset: [0.5, 0.5, 0.5] };
  }

  has() { return true; }
  hasStep() { return true; }
  move() {}
  close() { this.surfaces = this.planes = this.values = []; this.small = {}; }

  // x_t as large as the canvas, which is smaller than the picture where there is not the room.
  bitmap(track, step, { width, height }) {
    let surface = this.surfaces[track];
    if (surface?.canvas.width !== width || surface.canvas.height !== height) {
      surface = this.surfaces[track] = this.#surface(width, height);
    }
    this.#fill(surface.image.data, this.#shrunk(width, height), this.mix(track, step));
    surface.context.putImageData(surface.image, 0, 0);
    return surface.canvas;
  }

  // The operands at a smaller size. A mean is linear: that of x_t is x_t of the means, and fewer values are mixed.
  #shrunk(width, height) {
    const { width: w, height: h, channels } = this;
    if (width === w && height === h) return this.planes;
    if (this.small.width !== width || this.small.height !== height) {
      const planes = this.planes.map(plane => means(means(plane, channels * h, w, width, 1), channels, h, height, width));
      this.small = { width, height, planes };
    }
    return this.small.planes;
  }

  // A thumbnail of the chosen schedule: some of x_t's own pixels, for a mean of many would lose the noise.
  async decoded(_, step, side) {
    const scale = Math.min(1, side / Math.min(this.width, this.height));
    const [w, h] = [this.width, this.height].map(length => Math.max(1, Math.round(length * scale)));
    const image = new ImageData(w, h), alphaBar = this.alphaBar(step), { offset } = this;
    const [signal, noise] = [255 * Math.sqrt(alphaBar), 255 * Math.sqrt(1 - alphaBar)], [x0, eps] = this.planes;
    const starts = this.#starts(this.area);
    for (let p = 0; p < w * h; p++) {
      const row = Math.floor((Math.floor(p / w) + 0.5) * this.height / h);
      const from = row * this.width + Math.floor((p % w + 0.5) * this.width / w);
      for (let c = 0; c < 3; c++) {
        const at = starts[c] + from;
        image.data[4 * p + c] = signal * x0[at] + noise * eps[at] + 255 * offset[c];
      }
      image.data[4 * p + 3] = 255;
    }
    return createImageBitmap(image);
  }

  #surface(width, height) {
    const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    image.data.fill(255);
    return { canvas, context, image };
  }

  // Where red, green and blue begin in a plane.
  #starts(area) { return [0, 1, 2].map(c => c % this.channels * area); }

  #fill(bytes, [x0, eps], { factors, offset }) {
    const area = bytes.length / 4, [signal, noise] = factors.map(factor => 255 * factor);
    const [red, green, blue] = this.#starts(area), [r, g, b] = offset.map(grey => 255 * grey);
    for (let p = 0, out = 0; p < area; p++, out += 4) {
      bytes[out] = signal * x0[red + p] + noise * eps[red + p] + r;
      bytes[out + 1] = signal * x0[green + p] + noise * eps[green + p] + g;
      bytes[out + 2] = signal * x0[blue + p] + noise * eps[blue + p] + b;
    }
  }
}

// ᾱ as far along as its log-SNR: finite at both ends, and still apart where ᾱ itself hardly moves.
const squashed = alphaBar => Math.atan(logSnr(alphaBar) / 4);

// Choices of which one holds: native radio buttons, so that keyboard and screen reader know them.
class Choice {
  static #count = 0;

  constructor(label, options, choose) {
    const name = `kit-choice-${Choice.#count++}`;
    this.inputs = options.map(({ value }) => element("input", { type: "radio", name, value }));
    const labels = options.map(({ text, className = "" }, i) =>
      element("label", { className }, this.inputs[i], element("span", {}, ...[text].flat())));
    this.root = element("div", { className: "kit-choice", role: "radiogroup", "aria-label": label },
      element("span", { className: "kit-name" }, label), element("div", { className: "kit-options" }, ...labels));
    this.root.addEventListener("change", event => choose(event.target.value));
  }

  show(value, allowed = () => true) {
    for (const input of this.inputs) {
      input.checked = input.value === value;
      input.disabled = !allowed(input.value);
    }
  }
}

// What stands beside the pictures in this mode: the histogram and the choices.
class Side {
  constructor(model, playhead) {
    Object.assign(this, { model, playhead });
    const set = (name, value) => { model.set(name, value); model.save_changes(); };
    const plain = names => names.map(text => ({ value: text, text }));
    const tracks = model.get("tracks");
    this.histogram = new Histogram(playhead.frames);
    this.choices = {
      schedule: new Choice("schedule", tracks.map((text, track) => ({
        value: text, text: [swatch(track), text], className: `kit-track-${track}` })), value => set("schedule", value)),
      axis: new Choice("across", plain(["step", "t", "log-SNR"]), value => set("axis", value)),
      curve: new Choice("curve", plain(["ᾱ", "σ", "log-SNR"]), value => set("curve", value)),
      shown: new Choice("show", [{ value: "x_t", text: "xₜ" }, ...plain(["A", "B", "B − A"])], value => set("shown", value)),
    };
    this.compare = element("input", { type: "checkbox" });
    this.compare.addEventListener("change", () => set("compare", this.compare.checked));
    this.marks = ["A", "B"].map((letter, i) => this.#mark(letter, i, set));
    const { schedule, axis, curve, shown } = this.choices;
    schedule.root.hidden = tracks.length < 2;
    schedule.root.append(element("label", { className: "kit-check" }, this.compare, "side by side"));
    shown.root.append(element("div", { className: "kit-marks" }, ...this.marks));
    this.root = element("div", { className: "kit-side" }, this.histogram.root,
      element("div", { className: "kit-choices" }, schedule.root, axis.root, curve.root, shown.root));
    this.refresh();
  }

  #mark(letter, i, set) {
    const button = element("button", { type: "button", className: "kit-button" });
    button.addEventListener("click", () => {
      const marks = [...this.model.get("marks")], { step } = this.playhead;
      marks[i] = marks[i] === step ? -1 : step;
      if (marks[i] < 0 && this.model.get("shown") !== "x_t") this.model.set("shown", "x_t");
      set("marks", marks);
    });
    return button;
  }

  refresh() {
    const marks = this.model.get("marks");
    for (const [name, choice] of Object.entries(this.choices)) choice.show(this.model.get(name));
    this.choices.shown.show(this.model.get("shown"), value =>
      ({ "A": marks[0] >= 0, "B": marks[1] >= 0, "B − A": Math.min(...marks) >= 0 })[value] ?? true);
    this.compare.checked = this.model.get("compare");
    this.#name();
  }

  // The step whose picture is shown when the playhead, or what hovers, is at `step`.
  seen(step) {
    const [a, b] = this.model.get("marks");
    return { "A": a, "B": b, "B − A": b }[this.model.get("shown")] ?? step;
  }

  // The hand has moved: a single mark gives way to what is under the hand, and B of a difference goes along.
  moved(step) {
    const shown = this.model.get("shown"), [a, b] = this.model.get("marks");
    if (shown === "A" || shown === "B") this.model.set("shown", "x_t");
    if (shown === "B − A" && b !== step) this.model.set("marks", [a, step]);
  }

  draw(step) {
    this.histogram.draw(this.playhead.frames.mix(this.playhead.frames.track, step).factors);
    this.#name();
  }

  #name() {
    this.marks.forEach((button, i) => {
      const on = this.model.get("marks")[i] === this.playhead.step, letter = "AB"[i];
      button.textContent = on ? `clear ${letter}` : `set ${letter}`;
      button.setAttribute("aria-label", on ? `Clear mark ${letter}` : `Mark this step as ${letter}`);
    });
  }
}
