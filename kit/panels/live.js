// Prompt, seed and guidance go to the kernel as the hand moves; it draws the newest wish and sends the picture back.

const IN_FLIGHT = 2;  // wishes without an answer: one is drawn, one waits; more would only take the kernel's time
const GAP = 16, LULL = 250, MAX_SEED = 2 ** 31 - 1;
const CHOICES = ["prompt", "seed", "w"];

// A scale of about eight marks for w from low to high.
function scaleOf([low, high]) {
  const rough = (high - low) / 9, ten = 10 ** Math.floor(Math.log10(rough));
  const every = ten * [1, 2, 5, 10].find(digit => digit * ten >= rough), marks = [];
  for (let k = Math.ceil(low / every - 1e-9); k * every <= high + 1e-9; k++) marks.push(Number((k * every).toFixed(6)));
  return { low, high, step: every / 10, origin: clamp(1, low, high), marks,
    share: w => (w - low) / (high - low), value: share => low + share * (high - low) };
}

// What all views of a model share.
class Choice {
  #views = new Set();
  #measured = new Clock();
  #sent = 0;
  #answered = 0;
  #wanted = false;       // whether something was chosen that is not yet asked for
  #late = false;
  #since = 0;            // when the first input came that is not yet asked for
  #stamps = new Map();   // number of a wish -> when its input came
  #busy = 0;             // since when a picture of an input is waited for, 0: none is
  #painted = 0;          // when the last picture was painted
  #count = 0;
  #seconds = 0;
  #turn = 0;
  #closed = false;
  held = false;

  constructor(model) {
    this.model = model;
    this.pictures = new Map();  // rung -> {bitmap, wish, ms}
    this.clock = { input: event => { this.#since ||= event.timeStamp; } };
    this.ask = debounceFrame(() => this.#ask());
    this.report = throttle(() => this.#report(), LULL);
    for (const name of CHOICES) {
      this[name] = model.get(name);
      model.on(`change:${name}`, () => { if (!this.held) this.#follow(name); });
    }
    model.on("msg:custom", (message, buffers) => this.#hear(message, buffers ?? []));
    const { table } = model.get("_drawn"), drawn = new Map(table.map(([rung, wish]) => [rung, wish]));
    this.#load(model.get("_drawn"));
    if (!model.get("rungs").every(rung => this.shows(drawn.get(rung)))) this.set({});
  }

  // Whether a picture that was drawn for a wish is one of what is chosen.
  shows(wish) { return Boolean(wish) && CHOICES.every(name => wish[name] === this[name]); }

  get waits() {
    if (!this.model.get("_kernel")) return "no kernel behind this page: the last pictures";
    if (!this.#late) return "";
    return this.model.get("status") === "running" ? "still drawing" : "no answer: the kernel is busy, or there is none";
  }

  join(view, signal) {
    this.#views.add(view);
    signal.addEventListener("abort", () => this.#views.delete(view));
  }

  tell() { for (const view of this.#views) view(); }

  // What the kernel chose it draws unasked.
  #follow(name) {
    this[name] = this.model.get(name);
    this.tell();
  }

  set(changes) {
    Object.assign(this, changes);
    this.#wanted = true;
    this.ask();
    this.tell();
  }

  #ask() {
    if (!this.#wanted || this.#sent - this.#answered >= IN_FLIGHT) return;
    const { prompt, seed, w } = this, n = ++this.#sent, now = performance.now();
    this.#wanted = false;
    if (this.#since) {
      this.#stamps.set(n, this.#since);
      this.#busy ||= now - this.#painted < LULL ? this.#painted : now;
    }
    this.#since = 0;
    this.model.send({ kind: "want", n, prompt, seed, w });
    this.#watch();
  }

  #watch() {
    clearTimeout(this.timer);
    if (this.#sent > this.#answered) this.timer = setTimeout(() => this.#lose(), PATIENCE);
  }

  // Nobody answered in time; what is chosen from now on is asked for anew.
  #lose() {
    this.#late = true;
    this.#answered = this.#sent;
    if (this.#wanted) this.ask();
    this.tell();
  }

  // The kernel has come to a wish, and forgot those before.
  #answer(n) {
    this.#late = false;
    this.#answered = clamp(n, this.#answered, this.#sent);
    for (const older of this.#stamps.keys()) if (older < n) this.#stamps.delete(older);
    this.#watch();
    this.#ask();
  }

  #hear(message, [buffer]) {
    if (message.kind === "ended") this.#answer(this.#sent);
    if (message.kind !== "picture") return;
    this.#answer(message.n);
    const { rung, ms, ...wish } = message;
    this.#show(rung, wish, ms, apart(buffer ?? Uint8Array.from(atob(message.base64), c => c.charCodeAt(0)))[0]);
  }

  #load({ table, blob }) {
    const parts = table.length ? apart(blob, table.map(([, , , length]) => length)) : [];
    table.forEach(([rung, wish, ms], i) => this.#show(rung, wish, ms, parts[i]));
  }

  // The picture before stays until this one is decoded; one that took longer than a later one is dropped.
  async #show(rung, wish, ms, bytes) {
    const turn = ++this.#turn, since = this.#stamps.get(wish.n);
    const bitmap = await decoded(bytes), before = this.pictures.get(rung);
    if (!bitmap || this.#closed || before?.turn > turn) return release([bitmap]);
    this.pictures.set(rung, { bitmap, wish, ms, turn, since });
    release([before?.bitmap]);
    this.tell();
  }

  // A view has painted a picture; only those that came from an input are counted, each once.
  painted(picture) {
    if (!picture.since) return;
    const now = performance.now();
    this.#measured.input({ timeStamp: picture.since });
    this.#measured.painted();
    picture.since = 0;
    this.#count += 1;
    this.#seconds += (now - (this.#busy || (now - this.#painted < LULL ? this.#painted : now))) / 1000;
    this.#busy = 0;
    this.#painted = now;
    this.report();
  }

  get timing() {
    const { moves, ...times } = this.#measured.summary();
    return moves ? { pictures: this.#count, per_second: this.#count / this.#seconds, ...times } : {};
  }

  #report() {
    if (this.held || this.#sent > this.#answered) return this.report();
    this.model.set("_timing", this.timing);
    this.model.save_changes();
  }

  commit() {
    const { model } = this, changed = CHOICES.filter(name => model.get(name) !== this[name]);
    if (!changed.length) return;
    for (const name of changed) model.set(name, this[name]);
    model.save_changes();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.timer);
    this.ask.cancel();
    this.report.cancel();
    for (const { bitmap } of this.pictures.values()) release([bitmap]);
    this.pictures.clear();
    this.#measured.close();
  }
}

class View {
  constructor(model, choice, root, signal) {
    Object.assign(this, { model, choice, root, signal });
    this.paint = debounceFrame(() => this.#show());
    this.tell = throttle(() => this.#readings(), LULL);
    this.#build();
    choice.join(() => this.paint(), signal);
    for (const name of ["change:status", "change:error"]) {
      const hear = () => this.#status();
      model.on(name, hear);
      signal.addEventListener("abort", () => model.off(name, hear));
    }
    const observer = new ResizeObserver(() => this.#resize());
    observer.observe(root);
    signal.addEventListener("abort", () => { observer.disconnect(); this.paint.cancel(); this.tell.cancel(); });
    this.#status();
  }

  // --- the page

  #build() {
    const { model } = this;
    this.figures = model.get("rungs").map(rung => this.#figure(rung));
    this.state = element("span", { className: "kit-state", role: "status" });
    this.wrong = element("div", { className: "kit-wrong", role: "alert" });
    this.error = element("div", { className: "kit-error", role: "alert", hidden: true });
    this.read = {};
    this.card = element("div", { className: "kit-card" },
      element("header", {}, element("span", { className: "kit-title" }, model.get("title")), this.state),
      element("div", { className: "kit-pictures" }, ...this.figures.map(({ figure }) => figure)),
      this.#words(), this.#guidance(), this.wrong,
      element("footer", {}, element("dl", { className: "kit-readings" },
        ...this.#reading("rate", "pictures a second", "painted while the hand moved"),
        ...this.#reading("late", "from hand to eye", "from an input to its own picture painted, the middle one of all"),
        ...this.#reading("drawn", "drawn in", "the time of the kernel's call, of the last pictures"))),
      this.error);
    this.root.append(this.card);
  }

  #figure(rung) {
    const canvas = element("canvas", { role: "img" });
    const frame = element("div", { className: "kit-frame kit-missing" }, canvas);
    const note = element("span", { className: "kit-said" });
    const caption = element("figcaption", {}, ...rung ? [element("strong", {}, rung)] : [], note);
    return { rung, canvas, frame, note, figure: element("figure", {}, frame, caption) };
  }

  #reading(key, name, title) {
    this.read[key] = element("dd", {}, "–");
    return [element("div", { title }, element("dt", {}, name), this.read[key])];
  }

  #words() {
    const { choice, signal } = this, on = (node, type, hear) => node.addEventListener(type, hear, { signal });
    const field = properties => element("input", { type: "text", tabIndex: 0, spellcheck: false, autocomplete: "off", ...properties });
    this.prompt = field({ className: "kit-prompt", "aria-label": "Prompt", placeholder: "the prompt" });
    this.seed = field({ inputMode: "numeric", "aria-label": "Seed", title: "↑ and ↓ count" });
    const another = element("button", { type: "button", className: "kit-button", tabIndex: 0, title: "Draw another seed" }, "Another");
    const turn = (seed, event) => {
      choice.clock.input(event);
      choice.set({ seed: clamp(seed, 0, MAX_SEED) });
      say(this.wrong, "");
    };
    on(this.prompt, "input", event => { choice.clock.input(event); choice.set({ prompt: this.prompt.value }); });
    on(this.seed, "input", event => this.#seed(event, turn));
    on(this.seed, "keydown", event => {
      const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      turn(choice.seed + by * (event.shiftKey ? 10 : 1), event);
      this.seed.value = choice.seed;
    });
    for (const node of [this.prompt, this.seed]) {
      on(node, "change", () => choice.commit());
      on(node, "keydown", event => { if (event.key === "Enter") choice.commit(); });
    }
    on(this.seed, "keyup", () => choice.commit());
    on(this.seed, "blur", () => { say(this.wrong, ""); this.paint(); });
    on(another, "click", event => { turn(Math.floor(Math.random() * 10_000), event); choice.commit(); });
    return element("div", { className: "kit-words" },
      element("label", { className: "kit-long" }, "Prompt", this.prompt),
      element("div", { className: "kit-seed" }, element("label", {}, "Seed", this.seed), another));
  }

  #seed(event, turn) {
    const text = this.seed.value.trim(), seed = Number(text);
    if (/^\d+$/.test(text) && seed <= MAX_SEED) return turn(seed, event);
    say(this.wrong, `Seed: got ${text || "nothing"}, wanted a whole number from 0 to ${MAX_SEED}`);
  }

  #guidance() {
    const { choice, signal } = this, [low, high] = this.model.get("w_range");
    this.w = typed("w", low, high, (w, wrong) => {
      say(this.wrong, w === null ? wrong : "");
      if (w === null || w === choice.w) return;
      choice.set({ w });
      choice.commit();
    }, signal);
    this.dial = new Dial(choice, "Guidance w", signal);
    this.dial.turn("w", low <= 1 ? { 1: "no guidance" } : {}, scaleOf([low, high]));
    return element("div", {}, element("div", { className: "kit-words kit-numbers" },
      element("label", {}, "Guidance", element("i", {}, "w"), this.w),
      element("span", {}, "u + w (c − u), as guidance_scale counts")), this.dial.node);
  }

  #resize() {
    const width = this.root.clientWidth - 2 * GAP, count = this.figures.length;
    if (width <= 0) return;
    const columns = clamp(Math.floor((width + GAP) / (150 + GAP)), 1, count);
    const native = Math.max(1, ...this.figures.map(({ canvas }) => this.sized ? Math.max(canvas.width, canvas.height) : 1));
    const side = pictureSide(native, Math.floor((width - GAP * (columns - 1)) / columns), devicePixelRatio);
    this.card.style.width = `${Math.min(width, Math.max(columns * side + (columns - 1) * GAP, 560))}px`;
    for (const { canvas, frame, figure } of this.figures) {
      const scale = side / (this.sized ? Math.max(canvas.width, canvas.height) : 1);
      figure.style.width = `${side}px`;
      Object.assign(frame.style, { width: `${this.sized ? canvas.width * scale : side}px`, height: `${this.sized ? canvas.height * scale : side}px` });
    }
    this.#show();
  }

  #status() {
    const error = this.model.get("error"), trace = this.model.get("traceback");
    this.card.dataset.status = this.model.get("status");
    this.error.hidden = !error;
    const more = trace ? [element("details", {},
      element("summary", { tabIndex: 0 }, "Traceback"), element("pre", { tabIndex: 0 }, trace))] : [];
    this.error.replaceChildren(element("strong", {}, error), ...more);
    this.paint();
  }

  // --- painting

  #show() {
    const { choice } = this;
    for (const figure of this.figures) this.#picture(figure, choice.pictures.get(figure.rung));
    this.dial.show();
    const { activeElement } = document;
    for (const [field, value] of [[this.prompt, choice.prompt], [this.seed, String(choice.seed)], [this.w, brief(choice.w)]]) {
      if (field !== activeElement && field.value !== value) field.value = value;
    }
    say(this.state, choice.waits);
    this.tell();
  }

  // A number that changes with each picture cannot be read, and costs the page a layout.
  #readings() {
    const { choice } = this, { per_second, p50_ms } = choice.timing;
    say(this.read.rate, per_second ? fixed(per_second, 1) : "–");
    say(this.read.late, p50_ms ? `${Math.round(p50_ms)} ms` : "–");
    say(this.read.drawn, this.figures.map(({ rung }) => choice.pictures.get(rung)).filter(Boolean)
      .map(({ ms }) => `${Math.round(ms)} ms`).join(" and ") || "–");
  }

  #picture({ rung, canvas, frame, note }, picture) {
    if (!picture) return;
    const { wish, ms } = picture;
    say(note, `w = ${brief(wish.w)}, ${Math.round(ms)} ms`);
    place(canvas, { "aria-label": `${rung ? `${rung}: ` : ""}${wish.prompt || "empty prompt"}, seed ${wish.seed}, w ${brief(wish.w)}` });
    frame.classList.toggle("kit-stale", Boolean(this.model.get("error")) && !this.choice.shows(wish));
    if (canvas.shown !== picture.bitmap) this.#paste(canvas, frame, picture);
  }

  #paste(canvas, frame, picture) {
    const { bitmap } = picture, sized = this.sized && canvas.width === bitmap.width && canvas.height === bitmap.height;
    canvas.shown = bitmap;
    frame.classList.remove("kit-missing");
    if (!sized) Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
    canvas.classList.toggle("kit-pixelated", Math.max(bitmap.width, bitmap.height) <= 64);
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    this.choice.painted(picture);
    this.sized = true;
    if (!sized) this.#resize();
  }
}

export default () => asWidget("kit-live", (model, root, signal, choice) => new View(model, choice, root, signal),
  model => new Choice(model));
