// Shared by all panels, in front of each panel's own module: elements, what anywidget takes, encoded frames, a clock.

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name.startsWith("data-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  // JupyterLab looks at the focused element only; on an ancestor the attribute is not seen and `a` inserts a cell.
  if (made.tabIndex >= 0) made.dataset.lmSuppressShortcuts = "true";
  made.append(...children);
  return made;
}

// Attributes and text are written only where they change, or each move would lay out all of the panel; and into the text
// node that is there, for of a new one Chromium composes all layers of the page again.
function place(node, attributes) {
  node.placed ??= {};
  for (const [name, value] of Object.entries(attributes)) {
    if (node.placed[name] !== value) node.setAttribute(name, node.placed[name] = value);
  }
}

function say(node, text) {
  if (node.said === text) return;
  const [only, more] = node.childNodes;
  if (only?.nodeType === Node.TEXT_NODE && !more) only.data = text;
  else node.textContent = text;
  node.said = text;
}

// A part of what `rewrite` writes: an element around a text.
const phrase = (tag, properties, text) => ({ tag, properties, text });

// As replaceChildren, for what is said anew at every move, in texts and phrases: where they are built as the last
// ones were, only the texts are exchanged, and only those that differ.
function rewrite(node, ...parts) {
  const build = JSON.stringify(parts.map(({ tag, properties }) => [tag, properties]));
  if (build !== node.build) {
    node.build = build;
    node.texts = parts.map(() => new Text());
    node.replaceChildren(...parts.map(({ tag, properties }, i) =>
      tag ? element(tag, properties, node.texts[i]) : node.texts[i]));
  }
  parts.forEach((part, i) => {
    const text = part.tag ? part.text : part;
    if (node.texts[i].data !== text) node.texts[i].data = text;
  });
}

// What anywidget takes for a panel: `share(model)` makes what all views of a model have in common, closed with the
// model; `show(model, root, signal, shared)` makes a view, whose signal ends with it.
function asWidget(name, show, share) {
  let shared;
  return {
    initialize({ model }) {
      shared = share?.(model);
      return () => shared?.close?.();
    },
    render({ model, el, signal }) {
      const ended = new AbortController(), root = element("div", { className: `kit-panel ${name}` });
      signal?.addEventListener("abort", () => ended.abort());
      el.append(root);
      show(model, root, ended.signal, shared);
      return () => ended.abort();
    },
  };
}

function debounceFrame(work) {
  let asked = 0;
  const ask = () => { asked ||= requestAnimationFrame(now => { asked = 0; work(now); }); };
  ask.cancel = () => { cancelAnimationFrame(asked); asked = 0; };
  return ask;
}

function throttle(work, milliseconds) {
  let timer = 0;
  const ask = () => { timer ||= setTimeout(() => { timer = 0; work(); }, milliseconds); };
  ask.cancel = () => { clearTimeout(timer); timer = 0; };
  return ask;
}

// Encoded frames by (track, step); those near the playhead are kept decoded, up to a budget of bytes.
class Frames {
  #encoded = new Map();
  #bitmaps = new Map();
  #last = 0;
  #pixels = 1;
  #decoding = false;
  #closed = false;
  playhead = 0;

  constructor(tracks, arrived, budget = 64 * 2 ** 20) {
    Object.assign(this, { tracks, arrived, budget });
  }

  add({ table }, view) {
    let start = view.byteOffset;
    const fresh = [];
    for (const [track, step, length] of table) {
      const key = `${track}/${step}`;
      if (!this.#encoded.has(key)) {
        this.#encoded.set(key, new Blob([new Uint8Array(view.buffer, start, length)]));
        fresh.push([track, step]);
        this.#last = Math.max(this.#last, step);
      }
      start += length;
    }
    if (fresh.length) this.arrived(fresh);
    this.#decode();
  }

  has(track, step) { return this.#encoded.has(`${track}/${step}`); }

  hasStep(step) {
    for (let track = 0; track < this.tracks; track++) if (this.has(track, step)) return true;
    return false;
  }

  // The decoded frame, or undefined until it is; moving the playhead near asks for it.
  bitmap(track, step) { return this.#bitmaps.get(`${track}/${step}`); }

  // A bitmap of the caller's own, for instance for a thumbnail; undefined if there is no such frame.
  async decoded(track, step) {
    const data = this.#encoded.get(`${track}/${step}`);
    return data && createImageBitmap(data).catch(() => undefined);
  }

  move(step) {
    this.playhead = step;
    this.#decode();
  }

  async #decode() {
    if (this.#decoding) return;
    this.#decoding = true;
    for (let keys; !this.#closed && (keys = this.#nearest(4 * this.tracks)).length;) {
      await Promise.all(keys.map(key => this.#decodeOne(key)));
      this.#evict();
      if (!this.#closed) this.arrived([]);
    }
    this.#decoding = false;
  }

  async #decodeOne(key) {
    try {
      const bitmap = await createImageBitmap(this.#encoded.get(key));
      this.#pixels = Math.max(this.#pixels, bitmap.width * bitmap.height);
      if (this.#closed) bitmap.close();
      else this.#bitmaps.set(key, bitmap);
    } catch (error) {
      console.warn(`frame ${key} cannot be decoded`, error);
      this.#encoded.delete(key);
    }
  }

  // Steps on either side of the playhead that may be kept decoded.
  get #reach() { return Math.max(4, Math.floor(this.budget / (4 * this.#pixels * this.tracks) / 2)); }

  #nearest(count) {
    const keys = [];
    const reach = Math.min(this.#reach, Math.max(this.#last, this.playhead));
    for (let away = 0; away <= reach && keys.length < count; away++) {
      for (const step of new Set([this.playhead + away, this.playhead - away])) {
        for (let track = 0; track < this.tracks; track++) {
          const key = `${track}/${step}`;
          if (this.#encoded.has(key) && !this.#bitmaps.has(key)) keys.push(key);
        }
      }
    }
    return keys;
  }

  #evict() {
    for (const [key, bitmap] of this.#bitmaps) {
      if (Math.abs(key.split("/")[1] - this.playhead) <= this.#reach) continue;
      bitmap.close();
      this.#bitmaps.delete(key);
    }
  }

  close() {
    this.#closed = true;
    for (const bitmap of this.#bitmaps.values()) bitmap.close();
    this.#bitmaps.clear();
    this.#encoded.clear();
  }
}

// From an input event to the end of the task that follows its drawing, in milliseconds.
class Clock {
  #times = [];
  #since = 0;
  #channel = new MessageChannel();
  moves = 0;

  constructor() {
    this.#channel.port1.onmessage = ({ data }) => {
      this.moves += 1;
      this.#times.push(performance.now() - data);
      if (this.#times.length > 512) this.#times.shift();
    };
  }

  input(event) { this.#since ||= event.timeStamp; }

  painted() {
    if (this.#since) this.#channel.port2.postMessage(this.#since);
    this.#since = 0;
  }

  summary() {
    const sorted = [...this.#times].sort((a, b) => a - b);
    const at = share => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
    return sorted.length ? { moves: this.moves, p50_ms: at(0.5), p95_ms: at(0.95) } : {};
  }

  close() { this.#channel.port1.close(); }
}

// Side in CSS pixels at which pictures of `native` pixels are shown where there is `room`: whole device pixels per
// picture pixel, so that all come out equally large, unless that would leave much of the room empty.
function pictureSide(native, room, ratio) {
  const side = Math.min(room, Math.max(384, Math.min(512, native)));
  const whole = Math.floor(side * ratio / native) * native / ratio;
  return whole >= 0.85 * side ? whole : side;
}

// The side, made so that each pixel has as many of the screen's, if that costs little of it.
function wholePixels(side, pixel) {
  const whole = Math.floor(side / pixel) * pixel;
  return whole >= 0.93 * side ? whole : side;
}

// Round numbers from low to high, about `count` of them.
function rounds(low, high, count) {
  const rough = (high - low) / count, ten = 10 ** Math.floor(Math.log10(rough));
  const every = [1, 2, 2.5, 5, 10].map(digit => digit * ten).find(size => size >= rough * 0.999), values = [];
  for (let k = Math.ceil(low / every - 1e-6); k * every <= high + 1e-6 * every; k++) values.push(Number((k * every).toPrecision(6)));
  return values;
}
