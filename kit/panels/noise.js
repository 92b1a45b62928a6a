// The scrubber: one playhead per model, shared by its views; nothing is asked of the kernel while it moves.

const NARROWEST = { recorded: 104, computed: 180 }, GAP = 16, STRIP = 48, RAIL = 10, SIDE = [248, 340];
const SPEEDS = [0.5, 1, 2, 4];
const STEPS_PER_SECOND = 8, LONGEST = 12;  // seconds of a whole path

// What all views of a model share: the frames, the playhead, what goes back to the kernel.
class Playhead {
  #views = new Set();
  held = false;

  constructor(model) {
    this.model = model;
    this.step = model.get("index");
    this.clock = new Clock();
    this.frames = model.get("levels") ? new Forward(model)
      : new Frames(model.get("tracks").length, fresh => this.tell(fresh));
    this.sendLive = throttle(() => this.#send("live"), 50);
    model.on("change:_frames", () => this.#load());
    model.on("change:index", () => { if (!this.held) this.#place(model.get("index")); });
    model.on("msg:custom", (message, buffers) => this.#hear(message, buffers ?? []));
    this.frames.move(this.step);
    this.#load();
  }

  get length() { return this.model.get("length"); }

  join(view, signal) {
    this.#views.add(view);
    signal.addEventListener("abort", () => this.#views.delete(view));
  }

  tell(fresh = []) { for (const view of this.#views) view(fresh); }

  move(step) {
    this.#place(Math.max(0, Math.min(this.length - 1, step)));
  }

  // While the hand moves the kernel hears nothing, unless somebody there listens.
  drag() { if (this.model.get("_heeded")) this.sendLive(); }

  commit() {
    this.sendLive.cancel();
    this.model.set("live", this.step);
    this.model.set("_timing", this.clock.summary());
    this.#send("index");
  }

  #place(step) {
    if (step === this.step) return;
    this.step = step;
    this.frames.move(step);
    this.tell();
  }

  #send(name) {
    this.model.set(name, this.step);
    this.model.save_changes();
  }

  #load() {
    const { table, blob } = this.model.get("_frames") ?? { table: [] };
    if (table.length) this.frames.add({ table }, blob);
  }

  #hear(message, [buffer]) {
    if (message.kind !== "frames") return;
    const view = buffer ?? new DataView(Uint8Array.from(atob(message.base64), c => c.charCodeAt(0)).buffer);
    this.frames.add(message, ArrayBuffer.isView(view) ? view : new DataView(view));
  }

  close() {
    this.sendLive.cancel();
    this.frames.close();
    this.clock.close();
  }
}

const plainNumber = value => String(Number.isFinite(value) ? value.toPrecision(3) : value)
  .replace("Infinity", "∞").replaceAll("-", "−");

// What is known of a step, as [name, text] pairs in the order they are shown.
function readings({ model, frames }, step) {
  const read = [["step", `${step + 1} / ${model.get("length")}`]];
  const t = model.get("timesteps")[step];
  if (t !== undefined) read.push(["t", t < 0 ? "clean" : String(t)]);
  const alphaBar = frames.alphaBar ? frames.alphaBar(step) : model.get("alpha_bar")[step];
  if (alphaBar !== undefined) {
    read.push(["ᾱ", plainNumber(alphaBar)]);
    read.push(["σ", plainNumber(Math.sqrt((1 - alphaBar) / alphaBar))]);
    read.push(["log-SNR", plainNumber(Math.log(alphaBar / (1 - alphaBar)))]);
  }
  return read;
}

// Share of noise at each step in [0, 1], or none if nothing tells.
function noiseLevels(model) {
  const alphaBar = model.get("alpha_bar"), timesteps = model.get("timesteps");
  if (alphaBar.length) return alphaBar.map(a => Math.sqrt(1 - a));
  const top = Math.max(...timesteps, 1);
  return timesteps.map(t => Math.max(0, t) / top);
}

// The same static at every redraw (a linear congruential generator), or the rail would shimmer.
function pseudorandom() {
  let state = 1;
  return () => (state = Math.imul(state, 1664525) + 1013904223 >>> 0) / 2 ** 32;
}

// What stands under the ticks: t where it is known, else labels where they are short, else the steps' numbers.
function tickNames(playhead) {
  const { model, length } = playhead, labels = model.get("labels");
  if (model.get("timesteps").length) return Array.from({ length }, (_, step) => readings(playhead, step)[1][1]);
  const short = labels.length === length && Math.max(...labels.map(label => label.length)) <= 12;
  return short ? labels : Array.from({ length }, (_, step) => String(step + 1));
}

// The steps of a recorded path, side by side across the panel.
function evenly(playhead) {
  const { length } = playhead, place = step => (step + 0.5) / length;
  return {
    place,
    stepAt: share => Math.max(0, Math.min(length - 1, Math.floor(share * length))),
    ticks(width) {
      const names = tickNames(playhead), longest = Math.max(...names.map(name => name.length));
      const every = tickEvery(width, length, 6), named = tickEvery(width, length, Math.max(44, 7 * longest)), ticks = [];
      for (let step = 0; step < length; step += every) ticks.push([place(step), step % named ? "" : names[step]]);
      return ticks;
    },
  };
}

// Thumbnails that fit side by side: which step each shows, and where each begins.
function stripCells(width, length, axis, wanted = STRIP) {
  const count = Math.max(1, Math.min(length, Math.floor(width / wanted)));
  return Array.from({ length: count }, (_, cell) => ({
    x: cell * width / count,
    width: width / count,
    step: axis.stepAt((cell + 0.5) / count),
  }));
}

// Every how many steps a tick, or a number under it, has room.
function tickEvery(width, length, room) {
  for (let size = 1; ; size *= 10) {
    for (const digit of [1, 2, 5]) if (digit * size * width / length >= room) return digit * size;
  }
}

class View {
  hover = null;
  #playing = 0;
  #speed = 1;
  #last = 0;
  #owed = 0;
  #width = 0;
  #shown = [];

  constructor(model, playhead, root, signal) {
    Object.assign(this, { model, playhead, root, signal });
    this.#build();
    this.paint = debounceFrame(now => this.#frame(now));
    playhead.join(fresh => this.#arrived(fresh), signal);
    this.#listen();
    let before;
    const observer = new ResizeObserver(() => {
      const now = `${root.clientWidth} ${devicePixelRatio}`;  // an unfolded traceback changes the height alone
      if (now !== before) this.#resize();
      before = now;
    });
    observer.observe(root);
    signal.addEventListener("abort", () => {
      observer.disconnect();
      this.paint.cancel();
      playhead.held = false;
    });
    this.#status();
    if (this.computed) this.#choose();
  }

  // --- the page

  #build() {
    const { model } = this;
    this.computed = Boolean(model.get("levels"));
    this.figures = model.get("tracks").map((name, track) => this.#figure(name, track));
    this.strip = element("canvas", { className: "kit-strip" });
    this.rail = element("canvas", { className: "kit-rail" });
    if (this.computed) {
      this.curve = new Curve(model, this.playhead.frames);
      this.side = new Side(model, this.playhead);
    }
    this.gaps = element("div", { className: "kit-gaps" });
    this.cell = element("div", { className: "kit-cell" });
    this.ghost = element("div", { className: "kit-cell kit-ghost" });
    this.knob = element("div", { className: "kit-knob" });
    this.ticks = element("div", { className: "kit-ticks" });
    this.slider = element("div", { className: "kit-slider", tabIndex: 0, role: "slider", "aria-valuemin": 0,
      "aria-label": model.get("title") || "Step of the path" },
      this.strip, this.curve?.root ?? this.rail, this.gaps, this.ghost, this.cell, this.knob, this.ticks);
    this.play = element("button", { type: "button", className: "kit-button kit-play", "aria-label": "Play",
      title: "Play or pause (Space)" });
    this.speed = element("button", { type: "button", className: "kit-button kit-speed", "aria-label": "Speed 1×",
      title: "Speed" }, "1×");
    this.stop = element("button", { type: "button", className: "kit-button kit-stop" }, "Stop");
    this.state = element("span", { className: "kit-state", role: "status" });
    this.label = element("div", { className: "kit-label" });
    this.read = element("dl", { className: "kit-readings" });
    this.error = element("div", { className: "kit-error", role: "alert", hidden: true });
    this.card = element("div", { className: `kit-card${this.computed ? " kit-forward" : ""}` },
      element("header", { hidden: !model.get("title") && model.get("status") === "idle" },
        element("span", { className: "kit-title" }, model.get("title")), this.state, this.stop),
      this.error,
      element("div", { className: "kit-pictures" }, ...this.figures.map(({ figure }) => figure)),
      this.slider,
      element("footer", {}, this.play, this.speed, this.read, this.label),
      this.side?.root ?? "");
    this.root.append(this.card);
  }

  #figure(name, track) {
    const canvas = element("canvas", { role: "img", "aria-label": name || "picture" });
    const frame = element("div", { className: "kit-frame" }, canvas);
    const note = element("div", { className: "kit-note" });
    const caption = element("figcaption", {}, ...this.computed && name ? [swatch(track)] : [], name, note);
    note.hidden = !this.computed;
    caption.hidden = !name && !this.computed;
    const figure = element("figure", { className: this.computed ? `kit-track-${track}` : "" }, frame, caption);
    return { canvas, frame, track, name, note, figure };
  }

  #remark() {
    this.side.refresh();
    this.curve.flag();
    this.#shown = [];
    this.paint();
  }

  #resize() {
    const width = this.root.clientWidth;
    if (!width) return;
    const inner = width - 2 * GAP;
    const fit = this.computed ? this.#beside(inner) : this.#columns(inner);
    for (const figure of this.figures) this.#fit(figure, fit.side);
    this.#width = Math.min(inner, Math.max(fit.width, this.computed ? 640 : 480));
    this.card.style.width = `${this.#width}px`;
    this.#timeline();
  }

  // As #columns, with the histogram and the choices on the right if that costs the pictures little, else below.
  #beside(inner) {
    const below = this.#columns(inner), right = this.#columns(Math.max(1, inner - SIDE[0] - 2 * GAP));
    const fits = right.columns === below.columns && right.side > 0.73 * below.side;
    this.card.classList.toggle("kit-beside", fits);
    return fits ? { ...right, width: Math.min(inner, right.width + 2 * GAP + SIDE[1]) } : below;
  }

  // How large the pictures are, and how much of the room they take side by side.
  #columns(inner) {
    const count = this.figures.filter(({ figure }) => !figure.hidden).length;
    const narrowest = this.computed ? NARROWEST.computed : NARROWEST.recorded;
    const columns = Math.max(1, Math.min(count, Math.floor((inner + GAP) / (narrowest + GAP))));
    const room = Math.floor((inner - GAP * (columns - 1)) / columns);
    const side = pictureSide(Math.max(1, ...this.model.get("sizes").flat()), room, devicePixelRatio);
    return { columns, side, width: columns * side + (columns - 1) * GAP };
  }

  // What a choice in this mode changes: which pictures there are, what the width means, what is drawn.
  #choose() {
    const { frames } = this.playhead, compare = this.model.get("compare");
    for (const { figure, track } of this.figures) figure.hidden = !compare && track !== frames.track;
    this.side.refresh();
    this.#resize();
  }

  // A canvas holds the picture's own pixels, and the browser enlarges them; only to shrink is it made smaller.
  #fit({ canvas, frame, figure, track }, side) {
    const [w, h] = this.model.get("sizes")[track];
    canvas.classList.toggle("kit-pixelated", this.model.get("pixelated")[track]);
    const scale = side / Math.max(w, h, 1);
    frame.style.width = `${w ? w * scale : side}px`;
    frame.style.height = `${h ? h * scale : side}px`;
    if (this.computed) figure.style.width = frame.style.width;
    canvas.width = Math.max(1, Math.min(w, Math.round(w * scale * devicePixelRatio)));
    canvas.height = Math.max(1, Math.min(h, Math.round(h * scale * devicePixelRatio)));
    this.#shown[track] = undefined;
  }

  #timeline() {
    if (!this.#width) return;
    const { length } = this.playhead;
    this.slider.setAttribute("aria-valuemax", length - 1);
    this.curve?.draw(this.#width);
    this.axis = this.curve?.axis ?? evenly(this.playhead);
    this.cells = stripCells(this.#width, length, this.axis);
    this.#film();
    if (!this.computed) this.#grain();
    this.#drawTicks();
    this.#drawGaps();
    this.#readings();
    this.#show();  // at once: an observer is called after this frame's callbacks, and the canvases are blank now
  }

  #sizeInDevicePixels(canvas, height) {
    canvas.width = Math.round(this.#width * devicePixelRatio);
    canvas.height = Math.round(height * devicePixelRatio);
  }

  // All thumbnails at once when all are decoded, so that the strip does not flicker while frames stream in.
  async #film() {
    const { cells } = this;
    const side = STRIP * devicePixelRatio;
    const bitmaps = await Promise.all(cells.map(({ step }) => this.playhead.frames.decoded(0, step, side)));
    if (this.cells === cells && !this.signal.aborted) {
      this.#sizeInDevicePixels(this.strip, STRIP);
      cells.forEach((cell, i) => { if (bitmaps[i]) this.#thumbnail(cell, bitmaps[i]); });
    }
    for (const bitmap of bitmaps) bitmap?.close();
  }

  #thumbnail({ x, width }, bitmap) {
    const ratio = devicePixelRatio, context = this.strip.getContext("2d");
    const left = Math.round(x * ratio), w = Math.round((x + width) * ratio) - left, h = this.strip.height;
    const scale = Math.max(w / bitmap.width, h / bitmap.height);
    const sw = w / scale, sh = h / scale;
    context.imageSmoothingEnabled = !this.model.get("pixelated")[0];
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, (bitmap.width - sw) / 2, (bitmap.height - sh) / 2, sw, sh, left, 0, w, h);
  }

  // Static on the rail, as opaque as the noise is strong; where there is none the rail's own colour stays.
  #grain() {
    this.#sizeInDevicePixels(this.rail, RAIL);
    const levels = noiseLevels(this.model), context = this.rail.getContext("2d"), grey = pseudorandom();
    if (!levels.length) return;
    const { width, height } = this.rail, image = context.createImageData(width, height);
    for (let x = 0; x < width; x++) {
      const at = Math.max(0, Math.min(levels.length - 1, x / width * levels.length - 0.5));
      const [low, high] = [Math.floor(at), Math.ceil(at)];
      const level = levels[low] + (at - low) * (levels[high] - levels[low]);
      for (let y = 0; y < height; y++) {
        const value = 45 + 175 * grey();
        image.data.set([value, value, value, 255 * level], 4 * (y * width + x));
      }
    }
    context.putImageData(image, 0, 0);
  }

  #drawTicks() {
    this.ticks.replaceChildren(...this.axis.ticks(this.#width).map(([share, text]) => {
      const tick = element("i", { className: text && "kit-named" }, ...text ? [element("span", {}, text)] : []);
      tick.style.left = `${share * this.#width}px`;
      return tick;
    }));
  }

  // Hatched stretches where no track has a picture yet.
  #drawGaps() {
    const { length, frames } = this.playhead, unit = this.#width / length;
    this.gaps.replaceChildren();
    for (let start = 0; start < length; start++) {
      if (frames.hasStep(start)) continue;
      let end = start;
      while (end < length && !frames.hasStep(end)) end++;
      const gap = element("div", {});
      Object.assign(gap.style, { left: `${start * unit}px`, width: `${(end - start) * unit}px` });
      this.gaps.append(gap);
      start = end;
    }
  }

  // Each reading has room for its longest text, and a digit more for wide signs, so that nothing moves.
  #readings() {
    const all = Array.from({ length: this.playhead.length }, (_, step) => readings(this.playhead, step));
    this.values = all[0].map((_, column) => {
      const value = element("dd", {});
      value.style.minWidth = `${Math.max(...all.map(read => read[column]?.[1].length ?? 0)) + 1}ch`;
      return value;
    });
    this.read.replaceChildren(...all[0].map(([name], column) =>
      element("div", {}, element("dt", {}, name), this.values[column])));
    this.label.hidden = !this.model.get("labels")?.length;
  }

  #status() {
    const status = this.model.get("status"), error = this.model.get("error");
    this.card.dataset.status = status;
    this.stop.hidden = status !== "running";
    this.state.textContent = { running: "running", cancelled: "stopped" }[status] ?? "";
    this.error.hidden = !error;
    const trace = this.model.get("traceback");
    const more = trace ? [element("details", {},
      element("summary", { tabIndex: 0 }, "Traceback"), element("pre", { tabIndex: 0 }, trace))] : [];
    this.error.replaceChildren(element("strong", {}, error), ...more);
  }

  // --- what happens

  #arrived(fresh) {
    if (fresh.length) {
      this.#shown = [];
      if (this.#width) {
        this.cells = [...this.cells];
        this.#film();
        this.#drawGaps();
      }
    }
    this.paint();
  }

  #listen() {
    const { model, slider, signal } = this;
    const on = (target, type, hear) => target.addEventListener(type, hear, { signal });
    on(slider, "pointerdown", event => this.#press(event));
    on(slider, "pointermove", event => this.#point(event));
    on(slider, "pointerup", () => this.#release());
    on(slider, "pointercancel", () => this.#release());
    on(slider, "pointerleave", () => this.#preview(null));
    on(slider, "keydown", event => this.#key(event));
    on(slider, "keyup", event => { if (this.#target(event) !== undefined) this.#release(); });
    on(slider, "blur", () => this.#release());
    on(this.play, "click", () => this.#toggle());
    on(this.speed, "click", () => this.#faster());
    on(this.stop, "click", () => model.send({ kind: "stop" }));
    const observed = { "change:length": () => this.#timeline(), "change:sizes": () => this.#resize(),
      "change:status": () => this.#status(), "change:error": () => this.#status() };
    if (this.computed) {
      for (const name of ["schedule", "axis", "curve", "compare"]) observed[`change:${name}`] = () => this.#choose();
      for (const name of ["marks", "shown"]) observed[`change:${name}`] = () => this.#remark();
    }
    for (const [name, hear] of Object.entries(observed)) {
      model.on(name, hear);
      signal.addEventListener("abort", () => model.off(name, hear));
    }
  }

  #stepOf(event) {
    const box = this.slider.getBoundingClientRect();
    return this.axis.stepAt((event.clientX - box.left) / box.width);
  }

  #press(event) {
    if (event.button) return;
    this.#pause();
    this.slider.setPointerCapture(event.pointerId);
    this.playhead.held = true;
    this.hover = null;
    this.#move(event, this.#stepOf(event));
    this.playhead.commit();
    this.paint();
  }

  #point(event) {
    const step = this.#stepOf(event);
    if (this.playhead.held) {
      if (step === this.playhead.step) return;
      this.#move(event, step);
      this.playhead.drag();
    } else if (step !== this.hover && event.pointerType !== "touch") {
      this.#preview(step);
    }
  }

  #move(event, step) {
    this.playhead.clock.input(event);
    this.playhead.move(step);
    this.side?.moved(this.playhead.step);
  }

  #preview(step) {
    this.hover = step;
    this.playhead.frames.move(step ?? this.playhead.step);
    this.paint();
  }

  #release() {
    if (!this.playhead.held) return;
    this.playhead.held = false;
    this.playhead.commit();
  }

  // The step a key leads to, or undefined.
  #target({ key, shiftKey }) {
    const { step, length } = this.playhead, stride = shiftKey ? 10 : 1;
    const page = Math.max(10, Math.round(length / 20));
    return { ArrowLeft: step - stride, ArrowDown: step - stride, ArrowRight: step + stride, ArrowUp: step + stride,
      PageDown: step - page, PageUp: step + page, Home: 0, End: length - 1 }[key];
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = this.#target(event);
    if (event.key !== " " && target === undefined) return;
    event.preventDefault();
    if (event.key === " ") return this.#toggle();
    this.#pause();
    this.playhead.held = true;  // until the key is up: a frame that arrives between must not take the playhead along
    this.hover = null;
    this.#move(event, target);
    this.playhead.drag();
    this.paint();
  }

  #toggle() {
    if (this.#playing) return this.#pause();
    if (this.playhead.step === this.playhead.length - 1) this.playhead.move(0);
    this.side?.moved(this.playhead.step);
    this.#playing = this.#speed;
    this.#last = this.#owed = 0;
    this.hover = null;
    this.#button();
    this.paint();
  }

  #pause() {
    if (!this.#playing) return;
    this.#playing = 0;
    this.#button();
    this.playhead.commit();
  }

  #button() {
    this.play.classList.toggle("kit-playing", this.#playing > 0);
    this.play.setAttribute("aria-label", this.#playing ? "Pause" : "Play");
  }

  #faster() {
    this.#speed = SPEEDS[(SPEEDS.indexOf(this.#speed) + 1) % SPEEDS.length];
    if (this.#playing) this.#playing = this.#speed;
    this.speed.textContent = `${this.#speed}×`;
    this.speed.setAttribute("aria-label", `Speed ${this.#speed}×`);
  }

  get #pace() { return Math.max(STEPS_PER_SECOND, this.playhead.length / LONGEST); }

  #advance(now) {
    this.#owed += this.#last ? (now - this.#last) / 1000 * this.#pace * this.#playing : 0;
    this.#last = now;
    const whole = Math.floor(this.#owed), { frames, step } = this.playhead;
    this.#owed -= whole;
    if (this.model.get("status") === "running" && !frames.hasStep(step + whole)) return;
    this.playhead.move(step + whole);
    this.side?.moved(this.playhead.step);
    if (this.playhead.step === this.playhead.length - 1) this.#pause();
  }

  // --- painting

  #frame(now) {
    if (!this.#width) return;
    if (this.#playing) this.#advance(now);
    this.#show();
    if (this.#playing) this.paint();
  }

  #show() {
    const { step } = this.playhead, at = this.side?.seen(this.hover ?? step) ?? this.hover ?? step;
    const drawn = this.figures.map(figure => this.#draw(figure, at)).every(Boolean);
    this.card.classList.toggle("kit-preview", this.hover !== null && this.hover !== step);
    this.#mark(this.cell, step);
    this.#mark(this.ghost, at);
    this.knob.style.transform = `translateX(${this.axis.place(step) * this.#width}px)`;
    this.curve?.move(at);
    this.side?.draw(at);
    this.#write(at);
    if (drawn) this.playhead.clock.painted();
  }

  // True once the picture shown is the one wanted. Until it is decoded, the one before stays.
  #draw({ canvas, frame, figure, track }, step) {
    if (this.#shown[track] === step || figure.hidden) return true;
    const { frames } = this.playhead, bitmap = frames.bitmap(track, step, canvas);
    const missing = !frames.has(track, step);
    if (!missing && !bitmap) return false;
    frame.classList.toggle("kit-missing", missing);
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    if (bitmap) context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    this.#shown[track] = step;
    return true;
  }

  #mark(mark, step) {
    const { x, width } = this.cells[Math.max(0, Math.min(this.cells.length - 1,
      Math.floor(this.axis.place(step) * this.cells.length)))];
    Object.assign(mark.style, { transform: `translateX(${x}px)`, width: `${width}px` });
  }

  // What a picture is: where its schedule is read when the chosen one stands at the step.
  #note(track, step) {
    const { frames } = this.playhead, at = frames.where(track, step), shown = this.model.get("shown");
    if (shown === "B − A") return "B − A, grey is 0";
    const read = `t ${this.model.get("timesteps")[at]} · ᾱ ${plainNumber(frames.levels[track][at])}`;
    return shown === "x_t" ? read : `${shown}: ${read}`;
  }

  #write(step) {
    const read = readings(this.playhead, step);
    read.forEach(([, text], column) => { this.values[column].textContent = text; });
    for (const { note, track } of this.computed ? this.figures : []) note.textContent = this.#note(track, step);
    const label = this.model.get("labels")?.[step] ?? "";
    this.label.textContent = this.label.title = label;
    this.slider.setAttribute("aria-valuenow", this.playhead.step);
    this.slider.setAttribute("aria-valuetext",
      [...readings(this.playhead, this.playhead.step).map(pair => pair.join(" ")), label].filter(Boolean).join(", "));
  }
}

export default () => asWidget("kit-noise", (model, root, signal, playhead) => new View(model, playhead, root, signal),
  model => new Playhead(model));
