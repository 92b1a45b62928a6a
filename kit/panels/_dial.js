// A slider and a typed field for one number of a choice, and how panels write numbers.

const KNEE = 0.36;

// What a slider's place means. Below w = 2 most changes fast, so a third of the slider is given to it.
const SCALES = {
  w: { low: -2, high: 20, step: 0.1, origin: 1, marks: [-2, -1, 0, 1, 2, 5, 10, 15, 20],
    share: w => w <= 2 ? (w + 2) / 4 * KNEE : KNEE + (w - 2) / 18 * (1 - KNEE),
    value: share => share <= KNEE ? share / KNEE * 4 - 2 : 2 + (share - KNEE) / (1 - KNEE) * 18 },
  g: { low: 0, high: 1, step: 0.01, origin: 0, marks: [0, 0.2, 0.4, 0.6, 0.8, 1],
    share: g => g, value: share => share },
  phi: { low: 0, high: 1, step: 0.01, origin: 0, marks: [0, 0.5, 1], share: phi => phi, value: share => share },
};

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const rounded = (value, step) => Number((Math.round(value / step) * step).toFixed(3));
const minus = text => String(text).replaceAll("-", "−");
const fixed = (value, digits = 2) => Number.isFinite(value)
  ? minus((Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value).toFixed(digits)) : "–";
const brief = value => minus(rounded(value, 0.001));

function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  place(made, attributes);
  made.append(...children);
  return made;
}

const percent = share => `${100 * share}%`;

const strides = ({ shiftKey, altKey }, step) => step * (shiftKey ? 10 : altKey ? 0.1 : 1);

// A slider for one number of the choice. Its name may change (w or g), and its scale with it.
class Dial {
  #anchor = null;

  constructor(choice, label, signal) {
    this.choice = choice;
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

  // words: what is written under some marks, {mark: word}.
  turn(name, words, scale = SCALES[name]) {
    if (this.name === name && this.words === words) return;
    Object.assign(this, { name, words, scale, shownFound: null });
    const { low, high, marks, share } = this.scale;
    place(this.node, { "aria-valuemin": low, "aria-valuemax": high });
    this.marks.replaceChildren(...marks.map(mark => {
      const word = words?.[mark] ? [element("em", {}, words[mark])] : [];
      const tick = element("i", {}, element("span", {}, minus(mark)), ...word);
      tick.style.left = percent(share(mark));
      return tick;
    }));
  }

  show(found = [], text = `${this.name} ${brief(this.choice[this.name])}`) {
    const { share, origin } = this.scale, value = this.choice[this.name];
    const [from, to] = [share(origin), share(value)];
    this.knob.style.left = percent(to);
    Object.assign(this.fill.style, { left: percent(Math.min(from, to)), width: percent(Math.abs(to - from)) });
    place(this.node, { "aria-valuenow": value, "aria-valuetext": text });
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
    const { share, value, step, low, high } = this.scale, { at: start, value: from } = this.#anchor;
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
