// The training panel: the losses as they come, smoothed here; the newest picture; the time that is left.

const GAP = 16, HEIGHT = 210, LEFT = 46, FOOT = 22, HEAD = 18;

// The running mean of a stage's losses: about the last 25th of its steps counts, and 100 at most; NaN until the first
// that is finite, for others do not count.
function smoothed(losses, steps) {
  const keep = 1 - 1 / clamp(steps / 25, 1, 100);
  let mean = 0, weight = 0;
  return losses.map(loss => {
    if (Number.isFinite(loss)) [mean, weight] = [mean, weight].map((sum, i) => keep * sum + (1 - keep) * (i ? 1 : loss));
    return mean / weight;
  });
}

const quantile = (sorted, share) => {
  const at = share * (sorted.length - 1), low = Math.floor(at), high = Math.ceil(at);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
};

// The ends of the axis: all means and 96 of 100 losses; and whether the means fall by more than ten times.
function scaleOf(losses, means) {
  const sorted = losses.filter(Number.isFinite).sort((a, b) => a - b), smooth = means.filter(Number.isFinite);
  let low = smooth.reduce((a, b) => Math.min(a, b), quantile(sorted, 0.02)), high = smooth.reduce((a, b) => Math.max(a, b), quantile(sorted, 0.98));
  const fits = low > 0 && smooth.reduce((a, b) => Math.max(a, b)) > 10 * smooth.reduce((a, b) => Math.min(a, b));
  if (high - low <= 1e-6 * Math.max(high, -low)) [low, high] = [low - Math.abs(low || 1) / 2, high + Math.abs(high || 1) / 2];
  return { low, high, fits };
}

// Round numbers on the axis of a loss: even ones, or 1, 2 and 5 of each power of ten, or fewer of them.
function marks(low, high, log) {
  if (!log || high < 3 * low) return rounds(low, high, 4);
  const digits = high > 1000 * low ? [1] : high > 30 * low ? [1, 3] : [1, 2, 5], values = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++) {
    for (const digit of digits) values.push(Number((digit * 10 ** power).toPrecision(3)));
  }
  return values.filter(value => value >= low && value <= high);
}

const short = value => minus(value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5) ? value.toExponential(0).replace("e", "·10^") : String(value));

// Seconds as minutes and seconds, or hours and minutes.
function time(seconds) {
  if (seconds < 59.5) return `${seconds < 9.95 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const whole = Math.round(seconds), pad = value => String(value).padStart(2, "0");
  return whole < 3600 ? `${Math.floor(whole / 60)}:${pad(whole % 60)} min` : `${Math.floor(whole / 3600)}:${pad(Math.floor(whole / 60) % 60)} h`;
}

// What all views of a model share: the points, the newest pictures, and the choice of a scale.
class Record {
  #views = new Set();
  #turn = 0;
  bitmaps = [];
  stopping = false;
  scale = "auto";

  constructor(model) {
    this.model = model;
    this.#load();
    for (const name of ["progress", "stages", "error"]) model.on(`change:${name}`, () => this.tell());
    model.on("change:status", () => {
      this.stopping = false;
      this.tell();
    });
    model.on("change:_points", () => this.#load());
    model.on("msg:custom", (message, buffers) => this.#hear(message, buffers ?? []));
    const { step, lengths, blob } = model.get("_pictures");
    if (lengths.length) this.#look(step, apart(blob, lengths));
  }

  #load() {
    this.points = [];
    this.#add(apart(this.model.get("_points"))[0]);
  }

  #hear(message, [buffer]) {
    if (message.kind !== "points" && message.kind !== "look") return;
    const parts = apart(buffer ?? Uint8Array.from(atob(message.base64), c => c.charCodeAt(0)), message.lengths);
    if (message.kind === "look") this.#look(message.step, parts);
    else this.#add(parts[0]);
  }

  #add(bytes) {
    const pairs = new Float32Array(bytes.buffer);
    for (let i = 0; i < pairs.length; i += 2) this.points.push([pairs[i], pairs[i + 1]]);
    this.tell();
  }

  async #look(step, parts) {
    const turn = ++this.#turn, bitmaps = await Promise.all(parts.map(decoded));
    if (turn !== this.#turn) return release(bitmaps);
    release(this.bitmaps);
    Object.assign(this, { bitmaps, step });
    this.tell();
  }

  // Each stage with its points and their running mean.
  parts() {
    let at = 0;
    return this.model.get("stages").map(stage => {
      const from = at;
      while (at < this.points.length && this.points[at][0] <= stage.start + stage.steps) at++;
      const points = this.points.slice(from, at);
      return { ...stage, points, mean: smoothed(points.map(([, loss]) => loss), stage.steps) };
    });
  }

  join(view, signal) {
    this.#views.add(view);
    signal.addEventListener("abort", () => this.#views.delete(view));
  }

  tell() { for (const view of this.#views) view(); }

  choose(scale) {
    this.scale = scale;
    this.tell();
  }

  stop() {
    this.model.send({ kind: "stop" });
    this.stopping = true;
    this.tell();
  }

  close() {
    this.#turn++;
    this.bitmaps = release(this.bitmaps);
  }
}

class Plot {
  constructor(record) {
    this.record = record;
    this.root = drawn("svg", { class: "kit-losses", height: HEIGHT, role: "img" });
  }

  draw(width) {
    const parts = this.record.parts().filter(({ points }) => points.length), inner = width - LEFT;
    place(this.root, { width, viewBox: `0 0 ${width} ${HEIGHT}` });
    const ground = drawn("rect", { class: "kit-ground", x: LEFT, y: 0, width: inner, height: HEIGHT - FOOT });
    const losses = parts.flatMap(({ points }) => points.map(([, loss]) => loss)), means = parts.flatMap(({ mean }) => mean);
    if (!means.some(Number.isFinite)) return this.root.replaceChildren(ground);
    const last = parts.at(-1), total = last.start + last.steps, axis = this.#axis(losses, means);
    const x = step => LEFT + step / total * inner;
    place(this.root, { "aria-label": `loss from ${short(Number(means[0].toPrecision(3)))} to ${short(Number(means.at(-1).toPrecision(3)))}, running mean` });
    this.root.replaceChildren(ground, ...this.#rules(axis, width), ...this.#steps(total, x), ...this.#stages(parts, x),
      ...parts.map(part => this.#raw(part, x, axis)), ...parts.map(part => this.#mean(part, x, axis)), this.#point(last, x, axis));
  }

  // How high a loss stands.
  #axis(losses, means) {
    const { low, high, fits } = scaleOf(losses, means), chosen = this.record.scale;
    const log = low > 0 && (chosen === "auto" ? fits : chosen === "log"), along = log ? Math.log : value => value;
    const [from, to] = [along(low), along(high)], room = 0.05 * (to - from), floor = HEIGHT - FOOT;
    this.log = log;
    this.canLog = low > 0;
    const y = loss => clamp(floor - (along(Math.max(loss, log ? low / 10 : -Infinity)) - from + room) / (to - from + 2 * room) * (floor - HEAD), HEAD / 2, floor);
    return { low, high, log, y };
  }

  #rules({ low, high, log, y }, width) {
    return marks(low, high, log).flatMap(value => [drawn("path", { class: "kit-rule", d: `M${LEFT} ${y(value)}H${width}` }),
      drawn("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, short(value))]);
  }

  #steps(total, x) {
    const values = rounds(0, total, 4).filter(value => Number.isInteger(value));
    return values.map(value => drawn("text", { x: x(value), y: HEIGHT - 6, "text-anchor": value === total ? "end" : value ? "middle" : "start" }, String(value)));
  }

  #stages(parts, x) {
    return parts.filter(({ name }) => name || parts.length > 1).flatMap(({ name, start }) => [
      ...start ? [drawn("path", { class: "kit-change", d: `M${x(start)} 0V${HEIGHT - FOOT}` })] : [],
      drawn("text", { class: "kit-stage", x: x(start) + 6, y: 13 }, name)]);
  }

  // From the lowest to the highest loss over each pixel: many steps share one.
  #raw({ points }, x, { y }) {
    const ends = new Map();
    for (const [step, loss] of points) {
      if (!Number.isFinite(loss)) continue;
      const pixel = Math.round(x(step)), [low, high] = ends.get(pixel) ?? [Infinity, -Infinity];
      ends.set(pixel, [Math.min(low, loss), Math.max(high, loss)]);
    }
    return drawn("path", { class: "kit-raw", d: path([...ends].flatMap(([pixel, [low, high]]) => low === high ? [[pixel, y(low)]] : [[pixel, y(low)], [pixel, y(high)]])) });
  }

  #mean({ points, mean }, x, { y }) {
    const at = new Map();
    points.forEach(([step], i) => { if (Number.isFinite(mean[i])) at.set(Math.round(x(step)), y(mean[i])); });
    return drawn("path", { class: "kit-mean", d: path([...at]) });
  }

  #point({ points, mean }, x, { y }) {
    return drawn("circle", { class: "kit-now", r: 4.5, cx: x(points.at(-1)[0]), cy: y(mean.at(-1)) });
  }
}

const path = places => places.length ? "M" + places.map(([x, y]) => `${x} ${y.toFixed(1)}`).join("L") : "";

class View {
  constructor(model, record, root, signal) {
    Object.assign(this, { model, record, root, signal });
    this.paint = debounceFrame(() => this.#show());
    this.#build();
    record.join(() => this.paint(), signal);
    const observer = new ResizeObserver(() => this.#resize());
    observer.observe(root);
    signal.addEventListener("abort", () => { observer.disconnect(); this.paint.cancel(); });
  }

  #build() {
    const { model, record, signal } = this;
    this.plot = new Plot(record);
    this.stop = element("button", { type: "button", className: "kit-button kit-stop", title: "End after the step that runs; what was learnt stays" }, "Stop");
    this.stop.addEventListener("click", () => record.stop(), { signal });
    this.state = element("span", { className: "kit-state", role: "status" });
    this.error = element("div", { className: "kit-error", role: "alert", hidden: true });
    this.bar = element("div", { className: "kit-bar", role: "progressbar", "aria-label": "Steps of this stage", "aria-valuemin": 0 }, element("div", {}));
    this.hint = element("div", { className: "kit-hint" });
    this.pictures = element("div", { className: "kit-looks" });
    this.note = element("figcaption", {});
    this.figure = element("figure", { hidden: !model.get("looks") }, this.pictures, this.note);
    this.scales = ["linear", "log"].map(name => {
      const button = element("button", { type: "button", className: "kit-button", title: `The loss on a ${name} axis` }, name);
      button.addEventListener("click", () => record.choose(name), { signal });
      return [name, button];
    });
    this.values = Object.fromEntries(["step", "stage", "loss", "left", "so far"].map(name => [name, element("dd", {})]));
    this.rows = Object.entries(this.values).map(([name, value]) => element("div", {}, element("dt", {}, name), value));
    this.card = element("div", { className: "kit-card" },
      element("header", {}, element("span", { className: "kit-title" }, model.get("title")), this.state, this.stop), this.error,
      element("div", { className: "kit-run-parts" }, element("section", {}, this.plot.root, this.bar, this.hint), this.figure),
      element("footer", {}, element("dl", { className: "kit-readings" }, ...this.rows),
        element("div", { className: "kit-group", role: "group", "aria-label": "Axis of the loss" }, ...this.scales.map(([, button]) => button))));
    this.root.append(this.card);
  }

  #resize() {
    const width = this.root.clientWidth - 2 * GAP;
    if (width <= 0) return;
    this.card.style.width = `${Math.min(width, 1100)}px`;
    this.card.classList.toggle("kit-beside", width >= 760);
    this.#show();
  }

  #show() {
    if (!this.root.clientWidth) return;
    this.#pictures();
    this.plot.draw(this.plot.root.parentNode.clientWidth);
    this.#write();
  }

  #pictures() {
    const { bitmaps, step } = this.record;
    if (!bitmaps?.length || this.shown === bitmaps) return;
    this.shown = bitmaps;
    this.pictures.style.setProperty("--kit-columns", Math.ceil(Math.sqrt(bitmaps.length)));
    this.pictures.style.setProperty("--kit-count", Math.min(bitmaps.length, 4));
    const canvases = bitmaps.map((bitmap, i) => {
      const name = ["What it draws by now", bitmaps.length > 1 && `picture ${i + 1}`].filter(Boolean).join(", ");
      const canvas = element("canvas", { role: "img", "aria-label": name, width: bitmap?.width ?? 1, height: bitmap?.height ?? 1 });
      canvas.classList.toggle("kit-pixelated", Math.max(canvas.width, canvas.height) <= 64);
      if (bitmap) canvas.getContext("2d").drawImage(bitmap, 0, 0);
      return element("div", { className: "kit-frame" }, canvas);
    });
    this.pictures.replaceChildren(...canvases);
    say(this.note, `at step ${step}`);
  }

  #write() {
    const { model, record } = this, status = model.get("status"), error = model.get("error"), trace = model.get("traceback");
    const { stage, step, steps, loss, left, seconds } = model.get("progress"), begun = step !== undefined;
    this.card.dataset.status = status;
    this.stop.hidden = status !== "running";
    say(this.state, { running: record.stopping ? "stopping" : begun ? "training" : "beginning", cancelled: "stopped; what was learnt is kept", done: "done" }[status] ?? "");
    this.#problem(error, trace);
    this.rows[1].hidden = !stage;
    say(this.hint, "Faint: each step. Strong: the running mean" + (steps > 50 ? ` of about ${Math.round(clamp(steps / 25, 1, 100))} steps.` : "."));
    const told = { stage: stage ?? "", step: begun ? `${step} of ${steps}` : "–", loss: Number.isFinite(loss) ? minus(loss.toPrecision(3)) : "–",
      left: status !== "running" ? "–" : Number.isFinite(left) ? time(left) : "…", "so far": begun ? time(seconds) : "–" };
    for (const [name, text] of Object.entries(told)) say(this.values[name], text);
    place(this.bar, { "aria-valuemax": steps ?? 1, "aria-valuenow": step ?? 0, "aria-valuetext": begun ? `${told.step}, ${told.left} left` : "not begun" });
    this.bar.firstChild.style.width = percent(begun ? Math.min(1, step / steps) : 0);
    for (const [name, button] of this.scales) place(button, { "aria-pressed": (name === "log") === Boolean(this.plot.log) });
    this.scales[1][1].disabled = this.plot.canLog === false;
  }

  #problem(error, trace) {
    if (this.told === error + trace) return;
    this.told = error + trace;
    this.error.hidden = !error;
    const more = trace ? [element("details", {},
      element("summary", { tabIndex: 0 }, "Traceback"), element("pre", { tabIndex: 0 }, trace))] : [];
    this.error.replaceChildren(element("strong", {}, error), ...more);
  }
}

export default () => {
  let record;
  return {
    initialize({ model }) {
      record = new Record(model);
      return () => record.close();
    },
    render({ model, el, signal }) {
      const ended = new AbortController();
      signal?.addEventListener("abort", () => ended.abort());
      const root = element("div", { className: "kit-panel kit-training" });
      el.append(root);
      new View(model, record, root, ended.signal);
      return () => ended.abort();
    },
  };
};
