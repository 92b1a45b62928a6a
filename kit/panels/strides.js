// Strides: the rules of kit.arrays.strides again, for the browser; the panels around them.

const LINE = 64;  // bytes of a cache line

// --- the rules; a view is {shape, strides, offset} in cells, as in torch

const packed = shape => ({ shape: [...shape], offset: 0,
  strides: shape.map((_, k) => product(shape.slice(k + 1).map(size => Math.max(1, size)))) });

function cellOf({ strides, offset }, index) {
  let cell = offset;
  for (let axis = 0; axis < index.length; axis++) cell += index[axis] * strides[axis];
  return cell;
}

// [lowest, highest] cell, or null where there is no index.
function boundsOf({ shape, strides, offset }) {
  if (shape.includes(0)) return null;
  const ends = shape.map((size, axis) => (size - 1) * strides[axis]);
  return [0, 1].map(high => ends.reduce((cell, end) => cell + (end > 0 === Boolean(high) ? end : 0), offset));
}

function isInside(view, size) {
  const bounds = boundsOf(view);
  return !bounds || (bounds[0] >= 0 && bounds[1] < size);
}

function isContiguous(view) {
  const wanted = packed(view.shape).strides;
  return view.shape.includes(0) || view.shape.every((size, axis) => size === 1 || view.strides[axis] === wanted[axis]);
}

function wholeAxis(view, axis) {
  const rank = view.shape.length;
  if (!(axis >= -rank && axis < rank)) {
    throw new Error(rank ? `axis: got ${axis}, wanted ${-rank} to ${rank - 1}` : `axis: got ${axis}, has none`);
  }
  return (axis + rank) % rank;
}

const changedAt = (values, place, value) => values.map((old, at) => at === place ? value : old);

// The indices start:stop:step takes of an axis, as Python has it: [first, count].
function sliced(size, start, stop, step) {
  const lowest = step > 0 ? 0 : -1, highest = step > 0 ? size : size - 1;
  const clamp = (at, missing) => at === null ? missing : Math.max(lowest, Math.min(highest, at < 0 ? at + size : at));
  const first = clamp(start, step > 0 ? lowest : highest), end = clamp(stop, step > 0 ? highest : lowest);
  return [first, Math.max(0, Math.ceil((end - first) / step))];
}

// How torch lays out a copy that is not asked for in row-major order: axes nested as they were, no holes.
function repacked({ shape, strides }) {
  const order = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    let at = order.push(axis) - 1;
    for (let inner = at - 1; inner >= 0; inner--) {
      const [ours, theirs] = [strides[order[inner]], strides[axis]];
      if (ours === 0 || theirs === 0) continue;
      if (ours < theirs) break;
      if (ours === theirs && shape[order[inner]] <= shape[axis]) continue;
      [order[at], order[inner], at] = [order[inner], axis, inner];
    }
  }
  const steps = packed([...order].reverse().map(axis => shape[axis])).strides.reverse();
  return { shape: [...shape], strides: shape.map((_, axis) => steps[order.indexOf(axis)]), offset: 0 };
}

function filledIn(view, shape) {
  const count = product(view.shape), known = product(shape.filter(size => size !== -1));
  const open = shape.filter(size => size === -1).length === 1 && known > 0 && count % known === 0;
  const full = open ? shape.map(size => size === -1 ? count / known : size) : shape;
  if (Math.min(0, ...full) < 0 || product(full) !== count) {
    throw new Error(`shape: got ${shapeText(full)}, wanted one of ${count} numbers like ${shapeText(view.shape)}`);
  }
  return full;
}

// The axes joined where one stride walks them: [cells, stride, first axis, last axis].
function runsOf({ shape, strides }) {
  const runs = [];
  shape.forEach((size, axis) => {
    if (size === 1) return;
    const last = runs.at(-1);
    if (last?.[1] === size * strides[axis]) runs[runs.length - 1] = [last[0] * size, strides[axis], last[2], axis];
    else runs.push([size, strides[axis], axis, axis]);
  });
  return runs;
}

function restrided(view, shape) {
  if (view.shape.includes(0)) return [packed(shape).strides, "there are no numbers to move"];
  const runs = runsOf(view), strides = [];
  let [length, stride, first] = runs.pop() ?? [1, 1, 0], walked = 1;
  for (const size of [...shape].reverse()) {
    if (walked === length && size !== 1) {
      [length, stride, first] = runs.pop();
      walked = 1;
    }
    strides.unshift(stride * walked);
    walked *= size;
    if (length % walked) {
      const before = runs.at(-1)[3];
      return [null, `axis ${before} steps by ${view.strides[before]}, not by the ${length * stride} that would join ${first}`];
    }
  }
  return [strides, "each new axis lies where one stride walks the old ones"];
}

// Each gives {view, copied, why} as `library` would, or throws.
const OPERATIONS = {
  transpose(view, one, other) {
    const order = view.shape.map((_, axis) => axis);
    [one, other] = [wholeAxis(view, one), wholeAxis(view, other)];
    [order[one], order[other]] = [order[other], order[one]];
    return OPERATIONS.permute(view, order);
  },
  permute(view, axes) {
    const order = axes.map(axis => wholeAxis(view, axis));
    if (order.length !== view.shape.length || new Set(order).size !== order.length) {
      throw new Error(`axes: got [${axes.join(", ")}], wanted each of the ${view.shape.length} axes once`);
    }
    const of = values => order.map(axis => values[axis]);
    return { view: { shape: of(view.shape), strides: of(view.strides), offset: view.offset }, copied: false,
      why: "the strides change places; no number moves" };
  },
  slice(view, axis, start, stop, step, library) {
    axis = wholeAxis(view, axis);
    step ??= 1;
    if (step === 0 || (step < 0 && library === "torch")) {
      throw new Error(`step: got ${step}, wanted ${library === "numpy" ? "one that is not 0" : "at least 1"}`);
    }
    const [first, count] = sliced(view.shape[axis], start, stop, step);
    const strides = changedAt(view.strides, axis, view.strides[axis] * step);
    const offset = view.offset + (count ? first * view.strides[axis] : 0);
    return { view: { shape: changedAt(view.shape, axis, count), strides, offset }, copied: false,
      why: `the offset is where the slice begins; axis ${axis} steps by ${step} × its stride` };
  },
  expand(view, shape, library) {
    const added = shape.length - view.shape.length;
    if (added < 0) throw new Error(`shape: got ${shapeText(shape)}, wanted at least ${view.shape.length} axes`);
    const axes = shape.map((wanted, axis) => {
      const [size, stride] = axis < added ? [1, 0] : [view.shape[axis - added], view.strides[axis - added]];
      if (wanted === -1 && axis >= added && library === "torch") wanted = size;
      if (wanted < 0 || (size !== 1 && size !== wanted)) {
        throw new Error(`shape: got ${wanted} at axis ${axis}, wanted ${size}${size === 1 ? " or any" : ""}`);
      }
      return [wanted, size === wanted ? stride : 0];
    });
    return { view: { shape: axes.map(([size]) => size), strides: axes.map(([, stride]) => stride), offset: view.offset },
      copied: false, why: "a stretched axis has stride 0: all its indices read the same cell" };
  },
  flip(view, axis, library) {
    axis = wholeAxis(view, axis);
    if (library === "torch") {
      return { view: repacked(view), copied: true, why: "torch has no negative strides, so it writes the numbers anew" };
    }
    return { ...OPERATIONS.slice(view, axis, null, null, -1, "numpy"),
      why: `the stride of axis ${axis} changes its sign; the offset moves to its last index` };
  },
  unfold(view, axis, size, step) {
    axis = wholeAxis(view, axis);
    const length = view.shape[axis], stride = view.strides[axis];
    if (!(size >= 0 && size <= length) || step < 1) {
      throw new Error(`unfold: got size ${size}, step ${step}, wanted size 0 to ${length}, step 1 or more`);
    }
    return { view: { shape: [...changedAt(view.shape, axis, Math.floor((length - size) / step) + 1), size],
      strides: [...changedAt(view.strides, axis, stride * step), stride], offset: view.offset }, copied: false,
    why: "windows share their cells: two axes walk the same memory" };
  },
  view(view, shape) {
    shape = filledIn(view, shape);
    const [strides, why] = restrided(view, shape);
    if (!strides) throw new Error(`view: ${why}; wanted reshape, which copies`);
    return { view: { shape, strides, offset: view.offset }, copied: false, why };
  },
  reshape(view, shape) {
    shape = filledIn(view, shape);
    const [strides, why] = restrided(view, shape);
    return strides ? { view: { shape, strides, offset: view.offset }, copied: false, why }
      : { view: packed(shape), copied: true, why };
  },
  contiguous(view) {
    if (isContiguous(view)) return { view, copied: false, why: "it is row-major already, so it is returned as it is" };
    const wanted = packed(view.shape);
    return { view: wanted, copied: true,
      why: `strides ${shapeText(view.strides)} are not row-major ${shapeText(wanted.strides)}: the numbers move` };
  },
  as_strided(view, shape, strides, offset, library) {
    if (shape.length !== strides.length || Math.min(0, ...shape) < 0) {
      throw new Error(`as_strided: got shape ${shapeText(shape)}, strides ${shapeText(strides)}, wanted as many, sizes >= 0`);
    }
    if (library === "torch" && Math.min(0, ...strides) < 0) {
      throw new Error(`strides: got ${shapeText(strides)}, wanted none below 0: torch has no negative strides`);
    }
    return { view: { shape, strides, offset }, copied: false, why: "the same storage, read by the numbers given" };
  },
};

const applied = (view, [name, ...given], library) => OPERATIONS[name](view, ...given, library);

// What each number of an as_strided may be while the others stay within `size` cells.
function limitsOf(view, size, library) {
  const [low, high] = boundsOf(view);
  const limits = { shape: [], strides: [], offset: [view.offset - low, view.offset + size - 1 - high] };
  view.shape.forEach((length, axis) => {
    const stride = view.strides[axis], reach = (length - 1) * stride;
    const below = low - Math.min(0, reach), above = size - 1 - (high - Math.max(0, reach)), most = Math.max(1, length - 1);
    limits.shape.push(stride ? Math.floor((stride > 0 ? above / stride : below / -stride)) + 1 : size);
    limits.strides.push([library === "numpy" ? 0 - Math.floor(below / most) : 0, Math.floor(above / most)]);
  });
  return limits;
}

// --- the rules of a cache

const LOOPS = {
  *ijk(size) { for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) for (let k = 0; k < size; k++) yield [i, k, j]; },
  *ikj(size) { for (let i = 0; i < size; i++) for (let k = 0; k < size; k++) for (let j = 0; j < size; j++) yield [i, k, j]; },
  *blocked(size, block) {
    const starts = Array.from({ length: Math.ceil(size / block) }, (_, b) => b * block), end = at => Math.min(at + block, size);
    for (const bi of starts) for (const bj of starts) for (const bk of starts) {
      for (let i = bi; i < end(bi); i++) for (let k = bk; k < end(bk); k++) for (let j = bj; j < end(bj); j++) yield [i, k, j];
    }
  },
};

// What the loops of C[i, j] += A[i, k] * B[k, j] touch: [matrix, row, column] with 0, 1, 2 for A, B, C.
function matmulReads(order, size, block) {
  const reads = [];
  for (const [i, k, j] of LOOPS[order](size, block)) reads.push([0, i, k], [1, k, j], [2, i, j]);
  return reads;
}

function linesRead(reads, size, itemsize) {
  const apart = Math.ceil(size * size * itemsize / LINE);
  return reads.map(([matrix, row, column]) => matrix * apart + Math.floor((row * size + column) * itemsize / LINE));
}

// A cache of `capacity` lines that drops the line least recently used; after each read: whether it missed.
class Cache {
  #kept = new Set();

  constructor(capacity) { this.capacity = capacity; }

  read(line) {
    const missed = !this.#kept.delete(line);
    this.#kept.add(line);
    if (this.#kept.size > this.capacity) this.#kept.delete(this.#kept.values().next().value);
    return missed;
  }

  has(line) { return this.#kept.has(line); }
}

function missesOf(lines, capacity) {
  const cache = new Cache(capacity);
  return lines.map(line => cache.read(line));
}

// --- how an operation is written

const sliceText = ([axis, start, stop, step]) =>
  `[${":, ".repeat(axis)}${start ?? ""}:${stop ?? ""}${step === null || step === 1 ? "" : `:${step}`}]`;

const listed = numbers => numbers.length ? numbers.join(", ") : "()";

const WRITTEN = {
  torch: {
    slice: (code, view, args) => code + sliceText([wholeAxis(view, args[0]), ...args.slice(1)]),
    as_strided: (code, view, args) => `${code}.as_strided(${shapeText(args[0])}, ${shapeText(args[1])}, ${args[2]})`,
  },
  numpy: {
    transpose: (code, view, args) => `${code}.swapaxes(${args.join(", ")})`,
    permute: (code, view, [axes]) => `${code}.transpose(${listed(axes)})`,
    slice: (code, view, args) => code + sliceText([wholeAxis(view, args[0]), ...args.slice(1)]),
    expand: (code, view, [shape]) => `np.broadcast_to(${code}, ${shapeText(shape)})`,
    flip: (code, view, [axis]) => `np.flip(${code}, ${axis})`,
    unfold: (code, view, [axis, size, step]) => `sliding_window_view(${code}, ${size}, ${axis})` +
      (step === 1 ? "" : sliceText([wholeAxis(view, axis), null, null, step])),
    view: (code, view, [shape]) => `${code}.reshape(${shapeText(shape)}, copy=False)`,
    contiguous: code => `np.ascontiguousarray(${code})`,
    as_strided: (code, view, [shape, strides, offset], itemsize) =>
      `as_strided(storage_of(${code})[${offset}:], ${shapeText(shape)}, ${shapeText(strides.map(stride => stride * itemsize))})`,
  },
};

// The operation as Python that runs: numpy's as_strided counts bytes from the array's first number, hence storage_of.
function written(code, view, [name, ...given], library, itemsize) {
  const write = WRITTEN[library][name];
  return write ? write(code, view, given, itemsize) : `${code}.${name}(${name === "contiguous" ? "" : listed(given.flat())})`;
}

// --- the panels

// What an operation asks for: [label, kind] pairs, and what is filled in for a view.
const TOOLS = {
  transpose: { asks: [["axis", "int"], ["axis", "int"]], fill: ({ shape }) => shape.length > 1 ? [0, 1] : [0, 0] },
  permute: { asks: [["axes", "ints"]], fill: ({ shape }) => [shape.map((_, axis) => axis).reverse()] },
  slice: { asks: [["axis", "int"], ["start", "maybe"], ["stop", "maybe"], ["step", "maybe"]], fill: () => [0, null, null, 2] },
  expand: { asks: [["shape", "ints"]],
    fill: ({ shape }) => [shape.includes(1) ? shape.map(size => size === 1 ? 3 : size) : [3, ...shape]] },
  flip: { asks: [["axis", "int"]], fill: () => [0] },
  unfold: { asks: [["axis", "int"], ["size", "int"], ["step", "int"]],
    fill: ({ shape }) => [shape.length - 1, Math.min(3, shape.at(-1) ?? 1), 1] },
  reshape: { asks: [["shape", "ints"]], fill: () => [[-1]] },
  view: { asks: [["shape", "ints"]], fill: () => [[-1]] },
  contiguous: { asks: [], fill: () => [] },
  as_strided: { asks: [], fill: ({ shape, strides, offset }) => [shape, strides, offset] },
};

const argumentText = value => value === null ? "" : [value].flat().join(", ");

// What was typed for an argument, or undefined.
function parseArgument(text, kind) {
  const inner = text.trim().replace(/^[([]|[)\]]$/g, "").replace(/,\s*$/, "").trim();
  if (kind === "maybe" && (inner === "" || inner === "None")) return null;
  const parts = inner === "" ? [] : inner.split(/\s*,\s*|\s+/);
  if (!parts.every(part => /^-?\d{1,9}$/.test(part)) || (kind !== "ints" && parts.length !== 1)) return undefined;
  return kind === "ints" ? parts.map(Number) : Number(parts[0]);
}

const FOREIGN = "that memory is not this tensor's, and to read it is undefined behaviour";

const hex = address => `0x${BigInt(address).toString(16)}`;

class StorageViewer {
  hover = null;

  constructor(model, root, signal) {
    Object.assign(this, { model, root, signal, given: model.get("_given"), library: model.get("_given").library });
    this.clock = new Clock();
    this.palette = new Palette(root, () => this.draw(), signal);
    this.#build();
    this.paint = debounceFrame(() => this.#paint());
    this.#listen();
  }

  #build() {
    const { model, signal, given } = this;
    this.facts = element("dl", { className: "kit-facts" });
    this.viewed = new Tiles(this.palette, "View", (index, event) => this.#point({ index }, event), signal);
    this.stored = new Tiles(this.palette, "Storage", (place, event) => this.#point({ place }, event), signal);
    this.viewCode = element("code", {});
    this.viewShape = element("span", {});
    this.viewCaption = element("figcaption", {}, "view ", this.viewCode, this.viewShape);
    this.storedCaption = element("figcaption", {});
    this.formula = element("p", { className: "kit-formula", role: "status", "aria-live": "polite" });
    this.pictures = element("div", { className: "kit-terms" }, element("figure", {}, this.viewCaption, this.viewed.node),
      element("figure", { className: "kit-storage" }, this.storedCaption, this.stored.node));
    this.header = element("header", {}, element("span", { className: "kit-title" }, model.get("title") || "Storage and view"),
      element("span", { className: "kit-state" }, `${given.library} ${given.dtype}${given.device ? ` on ${given.device}` : ""}`));
    this.card = element("div", { className: "kit-card" }, this.header, this.facts, this.pictures, this.formula);
    this.root.append(this.card);
  }

  #listen() {
    const { signal } = this;
    this.pictures.addEventListener("pointerleave", () => {
      if (!this.clock.moves) return;
      this.model.set("_timing", this.clock.summary());
      this.model.save_changes();
    }, { signal });
    let before;
    const observer = new ResizeObserver(() => {
      this.width = this.root.clientWidth;  // kept, for asking costs a layout of the page
      const now = `${this.width} ${devicePixelRatio}`;
      if (now !== before) this.draw();
      before = now;
    });
    observer.observe(this.root);
    signal.addEventListener("abort", () => { observer.disconnect(); this.paint.cancel(); this.clock.close(); });
  }

  // What is read: {view, code, storage: {size, first, values, address}}; a panel with operations has more of them.
  get state() {
    const { size, address } = this.given;
    this.whole ??= { view: this.given, code: "t", storage: { ...this.model.get("_storage"), size, address } };
    return this.whole;
  }

  // --- what is shown

  draw() {
    const room = (this.width ?? 0) - 34;
    if (room <= 0) return;
    this.palette.ready();
    this.now = this.state;
    this.#read();
    this.#facts();
    this.#drawView(room);
    this.#drawStorage(room);
    this.#paint();
    this.drawn?.();
  }

  #facts() {
    const { view, storage } = this.now, { itemsize } = this.given, count = product(view.shape);
    const bounds = boundsOf(view);
    const whole = product(shownShape(view.shape)) === count && isInside(view, storage.size);
    const reads = whole ? `${this.reads.size} of ${storage.size} cells` : `cells ${bounds?.join(" to ")}`.replaceAll("-", "−");
    const facts = [["shape", shapeText(view.shape)], ["strides", shapeText(view.strides)],
      ["in bytes", shapeText(view.strides.map(stride => stride * itemsize))],
      ["offset", `${view.offset} (${view.offset * itemsize} B)`],
      ["contiguous", isContiguous(view) ? "yes" : "no"],
      ["reads", bounds ? reads : "nothing"],
      ["storage", `${bytesText(storage.size * itemsize)}${storage.address ? ` at ${hex(storage.address)}` : ""}`]];
    this.values ??= facts.map(([name]) => {
      const value = element("code", {});
      this.facts.append(element("div", {}, element("dt", {}, name), element("dd", {}, value)));
      return value;
    });
    facts.forEach(([, text], i) => say(this.values[i], text));
  }

  // Which of the cells that were sent the view reads, as far as it is drawn.
  #read() {
    const { view, storage: { first, values } } = this.now;
    this.#order(view);
    this.touched = new Uint8Array(values.length);
    for (let at = 0; at < this.order.length; at++) this.touched[this.order[at] + view.offset - first] = 1;
  }

  // The cells read, counted from the offset, in the order of the places and as a set: the same wherever the view begins.
  #order({ shape, strides }) {
    const shown = shownShape(shape), laid = `${shown} by ${strides}`;
    if (laid === this.laid) return;
    const order = new Float64Array(product(shown));
    let at = 0;
    const walk = (axis, cell) => {
      if (axis === shown.length) { order[at++] = cell; return; }
      for (let i = 0; i < shown[axis]; i++) walk(axis + 1, cell + i * strides[axis]);
    };
    walk(0, 0);
    Object.assign(this, { laid, shown, order, reads: new Set(order) });
  }

  isRead(cell) {
    const { view, storage } = this.now;
    return this.#isSent(cell) ? this.touched[cell - storage.first] === 1 : this.reads.has(cell - view.offset);
  }

  // The places of the view that read a cell.
  aliases(cell) {
    const found = [], wanted = cell - this.now.view.offset;
    for (let at = this.order.indexOf(wanted); at >= 0; at = this.order.indexOf(wanted, at + 1)) found.push(unravel(at, this.shown));
    return found;
  }

  #valueAt(cell) {
    const { storage } = this.now;
    storage.texts ??= storage.values.map(numberText);
    return storage.texts[cell - storage.first];
  }

  #isOutside(cell) { return cell < 0 || cell >= this.now.storage.size; }

  // Whether the number of a cell was sent: of a large storage only some are.
  #isSent(cell) { const { first, values } = this.now.storage; return cell >= first && cell < first + values.length; }

  // Whether a cell lies before or after all that the tensor given reads, in its storage.
  isBeyond(cell, storage = this.now.storage) {
    const bounds = boundsOf(this.given);
    return Boolean(bounds) && storage.address === this.given.address && (cell < bounds[0] || cell > bounds[1]);
  }

  #tint(cell) { return this.palette.tint((cell - this.now.storage.first) / Math.max(1, this.now.storage.values.length)); }

  // The pixels of the cells that were sent, made once for a storage and a scheme of colours.
  #hues() {
    const { palette, now: { storage } } = this, { values, first, scheme } = storage;
    if (scheme !== palette.scheme) {
      storage.hues = Uint32Array.from(values, (_, at) => palette.pixel(this.#tint(first + at)));
      storage.scheme = palette.scheme;
    }
    return storage.hues;
  }

  // The colours of the view's cells, and of the storage's, place by place; kept plain, for a slider waits for them.
  #coloursRead(into) {
    const { palette, order, now: { view, storage } } = this, hues = this.#hues(), start = view.offset - storage.first;
    const [alarm, unsent] = [palette.alarm, palette.cell].map(colour => palette.pixel(colour));
    for (let at = 0; at < into.length; at++) {
      const sent = order[at] + start;
      into[at] = sent >= 0 && sent < hues.length ? hues[sent] : this.#isOutside(order[at] + view.offset) ? alarm : unsent;
    }
  }

  #coloursStored(into) {
    const { palette, touched, across, per, now: { storage } } = this, hues = this.#hues();
    const [alarm, unread] = [palette.alarm, palette.cell].map(colour => palette.pixel(colour));
    const lines = into.length / (across * per);
    let at = 0;
    for (let column = 0; column < across; column++) {
      for (let row = 0; row < lines; row++) {
        const start = this.#cellAt([column, row, 0]);
        for (let cell = start; cell < start + per; cell++) {
          const sent = cell - storage.first;
          if (sent >= 0 && sent < hues.length) into[at++] = touched[sent] ? hues[sent] : unread;
          else into[at++] = this.#isOutside(cell) && this.isRead(cell) ? alarm : 0;
        }
      }
    }
  }

  #widest() {
    const { storage } = this.now;
    return storage.widest ??= Math.max(1, ...storage.values.slice(0, 400).map(text => numberText(text).length));
  }

  #drawView(room) {
    const { view, code } = this.now, shown = shownShape(view.shape);
    const cut = product(shown) < product(view.shape) ? `, drawn up to ${shapeText(shown)}` : "";
    say(this.viewCode, code.length > 60 ? "t…" : code);
    say(this.viewShape, ` ${shapeText(view.shape)}${cut}`);
    place(this.viewed.over, { "aria-label": `View, shape ${view.shape.join(" by ")}; arrow keys go from cell to cell` });
    this.viewed.show({ shape: view.shape, room, widest: this.#widest(), cellOf: index => {
      const cell = cellOf(view, index);
      if (this.#isOutside(cell)) return { alarm: true, text: "?" };
      return this.#isSent(cell) ? { text: this.#valueAt(cell), fill: this.#tint(cell) } : { text: "·", faint: true };
    }, colours: into => this.#coloursRead(into) });
  }

  // Cache lines: one to a row, several side by side when there are many; cells lie where their addresses put them.
  #drawStorage(room) {
    const { view, storage } = this.now, { itemsize } = this.given, per = Math.max(1, Math.floor(LINE / itemsize));
    const address = storage.address ? Number(BigInt(storage.address) % BigInt(LINE)) : 0;
    this.lead = Math.floor(address / itemsize) % per;
    const outside = isInside(view, storage.size) ? []
      : [...this.reads].map(cell => cell + view.offset).filter(cell => this.#isOutside(cell)).slice(0, 1000);
    const low = Math.min(storage.first, ...outside), high = Math.max(storage.first + storage.values.length - 1, ...outside);
    this.firstLine = Math.floor((low + this.lead) / per);
    const most = Math.ceil(MOST_CELLS / per) + 1, lines = Math.min(most, Math.floor((high + this.lead) / per) - this.firstLine + 1);
    const across = Math.max(1, Math.min(Math.ceil(lines / 20), Math.floor((room - 80) / (per * 6 + 12))));
    this.per = per;
    this.across = across;
    const more = storage.size > storage.values.length ? `, ${grouped.format(storage.values.length)} of them drawn` : "";
    say(this.storedCaption,
      `storage of ${countText(storage.size, "cell")}${more}; ${across > 1 ? "each block" : "each row"} one cache line`);
    const addressOf = line => `+${(line * per - this.lead) * itemsize}`;
    place(this.stored.over, { "aria-label": "Storage, cell by cell; arrow keys go from cell to cell" });
    this.stored.show({ shape: [across, Math.max(1, Math.ceil(lines / across)), per], room, widest: this.#widest(),
      blockText: `${LINE} B`, rowText: row => addressOf(this.firstLine + row * across).replace("+-", "−"),
      cellOf: place => {
        const cell = this.#cellAt(place), read = this.isRead(cell);
        if (this.#isOutside(cell)) return read ? { alarm: true, text: "?" } : { none: true };
        if (!this.#isSent(cell)) return { none: true };
        return { text: this.#valueAt(cell), fill: read ? this.#tint(cell) : undefined, faint: !read };
      }, colours: into => this.#coloursStored(into) });
  }

  #cellAt([column, row, at]) { return (this.firstLine + row * this.across + column) * this.per + at - this.lead; }

  #placeOf(cell) {
    const at = cell + this.lead, line = Math.floor(at / this.per) - this.firstLine;
    const rest = (number, whole) => ((number % whole) + whole) % whole;
    return [rest(line, this.across), Math.floor(line / this.across), rest(at, this.per)];
  }

  // --- the cursor

  #point(hover, event) {
    this.clock.input(event);
    const blank = hover.place && this.#isOutside(this.#cellAt(hover.place)) && !this.isRead(this.#cellAt(hover.place));
    this.hover = (hover.index ?? hover.place) && !blank ? hover : null;
    this.paint();
  }

  #paint() {
    if (!this.now) return;
    const { view } = this.now, { hover } = this;
    if (!hover) {
      this.viewed.mark();
      this.stored.mark();
      rewrite(this.formula, phrase("span", { className: "kit-hint" },
        "Point at a cell of the view or of the storage, or focus one and use the arrow keys."));
    } else {
      const cell = hover.index ? cellOf(view, hover.index) : this.#cellAt(hover.place);
      const aliases = this.aliases(cell);
      this.viewed.mark([aliases, !hover.index], [hover.index ? [hover.index] : [], true]);
      this.stored.mark([[this.#placeOf(cell)], true]);
      if (hover.index) this.stored.reveal(this.#placeOf(cell));
      this.#write(cell, aliases);
    }
    this.clock.painted();
  }

  // What is to be said of a cell outside the storage, or outside the tensor given.
  #whereabouts(cell) {
    const { itemsize } = this.given, past = (cell - this.now.storage.size) * itemsize;
    if (!this.#isOutside(cell)) return this.isBeyond(cell) ? ", beyond the tensor given but in its storage" : "";
    const away = cell < 0 ? `${bytesText(-cell * itemsize)} before its start` : `${bytesText(past)} past its end`;
    return `, ${away} — outside the storage: not read, for ${FOREIGN}`;
  }

  #write(cell, aliases) {
    const { view, storage } = this.now, { itemsize } = this.given, { index } = this.hover;
    const value = this.#valueAt(cell), strong = text => phrase("strong", {}, text);
    const address = storage.address ? `, address ${hex(BigInt(storage.address) + BigInt(cell * itemsize))}`
      : ` at byte ${String(cell * itemsize).replace("-", "−")}`;
    const inColour = (i, axis) =>
      phrase("b", { className: `kit-axis kit-axis-${(index.length - 1 - axis) % AXIS_COLOURS}` }, String(i));
    const terms = index?.flatMap((i, axis) => [" + ", inColour(i, axis), `·${String(view.strides[axis]).replace("-", "−")}`]) ?? [];
    const others = aliases.length > 1 ? `; ${aliases.length} places of the view read it`
      : aliases.length ? "" : "; the view does not read it";
    this.formula.classList.toggle("kit-outside", this.#isOutside(cell));
    rewrite(this.formula, ...(index ? ["view", ...indexText(index), ` → ${view.offset}`, ...terms, " = "] : []),
      `cell ${String(cell).replace("-", "−")}`,
      address, this.#whereabouts(cell),
      ...(value === undefined ? [] : [": ", strong(value)]), others);
  }
}

class StrideViewer extends StorageViewer {
  constructor(model, root, signal) {
    super(model, root, signal);
    this.red = false;
    this.save = throttle(() => model.save_changes(), 50);  // for a key held down on a slider
    this.redraw = debounceFrame(() => { this.#tell(); this.draw(); });
    signal.addEventListener("abort", () => { this.save.cancel(); this.redraw.cancel(); });
    this.#build();
    const moved = () => { this.whole = null; this.#change(); };
    for (const [name, hear] of [["change:ops", () => this.#change()], ["change:_verdict", this.redraw], ["change:_storage", moved]]) {
      model.on(name, hear);
      signal.addEventListener("abort", () => model.off(name, hear));
    }
    this.#change();
  }

  get ops() { return this.model.get("ops"); }

  get state() { return this.steps?.at(-1) ?? super.state; }

  #button(label, work, properties = {}) {
    const button = element("button", { type: "button", className: "kit-button", tabIndex: 0, ...properties }, label);
    button.addEventListener("click", work, { signal: this.signal });
    return button;
  }

  #build() {
    this.code = element("code", { className: "kit-code" });
    this.undo = this.#button("Undo", () => this.#set(this.ops.slice(0, -1)));
    this.reset = this.#button("Reset", () => this.#set([]));
    this.tools = Object.keys(TOOLS).map(name => this.#button(name, () => this.#tool(name), { "aria-expanded": "false" }));
    this.form = element("div", { className: "kit-form", role: "group", "aria-label": "Arguments", hidden: true });
    this.form.addEventListener("keydown", event => this.#key(event), { signal: this.signal });
    this.sliders = element("div", { className: "kit-sliders", hidden: true });
    this.verdict = element("div", { className: "kit-verdict", role: "status", "aria-live": "polite" });
    this.hazard = element("div", { className: "kit-hazard", hidden: true });
    this.bar = element("div", { className: "kit-bar", role: "toolbar", "aria-label": "Operations" }, ...this.tools);
    this.chain = element("div", { className: "kit-chain" }, this.code, this.undo, this.reset);
    this.facts.before(this.chain, this.bar, this.form, this.sliders, this.verdict);
    this.loops = new LoopViewer(this);
    this.card.append(this.hazard, this.loops.node);
    this.formula.after(this.hazard);
  }

  #set(ops) {
    this.model.set("ops", ops);
    this.model.save_changes();
  }

  // The view after each operation, by the rules; it ends before the first that fails.
  #change() {
    this.steps = [super.state];
    this.failed = "";
    for (const op of this.ops) {
      const before = this.steps.at(-1);
      try {
        const { view, copied, why } = applied(before.view, op, this.library);
        this.steps.push({ view, copied, why, code: written(before.code, before.view, op, this.library, this.given.itemsize),
          storage: copied ? this.#copy(before, op, view) : before.storage });
      } catch (error) {
        this.failed = error.message;
        break;
      }
    }
    this.redraw();
  }

  // All that is said of the operations, in the frame that draws the view, so that the page is laid out once for both.
  #tell() {
    this.#judge();
    this.#sliders();
    say(this.code, this.steps.at(-1).code);
    this.undo.disabled = this.reset.disabled = !this.ops.length;
  }

  // The storage of a copy: what each of its cells holds, as far as that is known.
  #copy(before, [name, axis], view) {
    const source = name === "flip" ? applied(before.view, ["slice", axis, null, null, -1], "numpy").view : before.view;
    const size = product(view.shape), values = Array(Math.min(size, MOST_CELLS));
    const shown = indices(size > MOST_CELLS ? shownShape(source.shape) : source.shape);
    for (const index of shown) {
      const old = cellOf(source, index) - before.storage.first;
      const fresh = name === "flip" ? cellOf(view, index) : ravel(index, source.shape);
      if (fresh < values.length) values[fresh] = before.storage.values[old];
    }
    return { first: 0, values: Array.from(values, text => text ?? "·"), size, address: "" };
  }

  // --- the library's word

  #judge() {
    const { ops, steps, failed, library, said: verdict } = this, last = steps.at(-1), said = verdict?.steps ?? [];
    said.forEach(({ copied, address }, i) => {
      if (copied && steps[i + 1]) steps[i + 1].storage.address = address;
    });
    this.verdict.hidden = !ops.length;
    if (!ops.length) return rewrite(this.verdict);
    const word = said.at(-1), outside = !isInside(last.view, last.storage.size);
    if (failed && !word?.error) return this.#pronounce("error", "error", `${failed} (by the rules of ${library})`);
    if (word?.error && (failed || !outside)) return this.#pronounce("error", "error", `${verdict.library}: ${word.error}`);
    if (outside) {
      const cells = boundsOf(last.view).join(" to ").replaceAll("-", "−");
      return this.#pronounce("error", "out of bounds", `cells ${cells} of a storage of ${last.storage.size}. `,
        `What is marked ? is not read: ${FOREIGN}.`);
    }
    const kind = (word ?? last).copied ? "copy" : "view", storage = kind === "copy" ? "a new storage" : "the same storage";
    const pointer = library === "torch" ? "data_ptr" : "base address";
    const proof = word ? `${library} says: ${storage}, ${pointer} ${hex(word.address)}` : `by the rules of ${library}, no library asked`;
    const beyond = boundsOf(last.view)?.some(cell => this.isBeyond(cell, last.storage));
    const reach = beyond ? "It reaches beyond the tensor given, but not beyond its storage: the numbers are true. " : "";
    this.#pronounce(kind, kind, `${last.why[0].toUpperCase()}${last.why.slice(1)}. `, reach, phrase("span", { className: "kit-proof" }, proof));
  }

  #pronounce(kind, name, ...words) {
    rewrite(this.verdict, phrase("b", { className: "kit-badge", "data-kind": kind }, name), ...words);
  }

  // Several places on one cell: what a write does, and what the library says to it.
  drawn() {
    const { view } = this.now, count = product(view.shape), cells = this.reads.size, { said: verdict } = this;
    this.hazard.hidden = !this.ops.length || cells === count || product(shownShape(view.shape)) < count || Boolean(this.failed);
    if (this.hazard.hidden) return;
    const shared = this.aliases(view.offset).length, write = verdict?.write;
    const tried = !write ? "" : write.error ? ` Tried on a copy of the storage, ${verdict.library} refuses: ${write.error}.`
      : ` Tried on a copy of the storage: it changed ${countText(write.changed, "place")} at once.`;
    const first = `view[${view.shape.map(() => 0).join(", ")}]`, readers = shared === 1 ? "1 place reads" : `${shared} places read`;
    rewrite(this.hazard, phrase("strong", {}, `${countText(count, "place")}, ${countText(cells, "cell")}. `),
      `Writing to ${first} writes a cell that ${readers}, and the source with them.${tried}`);
  }

  // What the library said, if it was to the operations there are now; undefined while it is not heard.
  get said() {
    const verdict = this.model.get("_verdict");
    return JSON.stringify(verdict.ops) === JSON.stringify(this.ops) ? verdict : undefined;
  }

  // --- operations

  #tool(name) {
    if (this.failed) this.#set(this.ops.slice(0, this.steps.length - 1));
    const { view } = this.steps.at(-1), { asks, fill } = TOOLS[name];
    this.#open(null);
    if (!asks.length) return this.#set([...this.ops, [name, ...fill(view)]]);
    this.#open(name);
    const inputs = fill(view).map((value, i) => element("input", { type: "text", tabIndex: 0, value: argumentText(value),
      spellcheck: false, autocomplete: "off", "aria-label": asks[i][0], placeholder: asks[i][1] === "maybe" ? "None" : "" }));
    const apply = this.#button("Apply", () => this.#submit());
    this.form.replaceChildren(element("code", {}, `${name}(`), ...inputs.map((input, i) => element("label", {}, asks[i][0], input)),
      element("code", {}, ")"), apply);
    inputs[0].focus();
    inputs[0].select();
  }

  #open(name) {
    this.opened = name;
    this.form.hidden = !name;
    Object.keys(TOOLS).forEach((tool, i) => this.tools[i].setAttribute("aria-expanded", String(tool === name)));
  }

  // JupyterLab keeps Enter from submitting a form of the page's own.
  #key(event) {
    if (event.target.tagName !== "INPUT" || !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    if (event.key === "Enter") return this.#submit();
    this.tools[Object.keys(TOOLS).indexOf(this.opened)].focus();
    this.#open(null);
  }

  #submit() {
    const inputs = [...this.form.querySelectorAll("input")], { asks } = TOOLS[this.opened];
    const values = inputs.map((input, i) => parseArgument(input.value, asks[i][1]));
    inputs.forEach((input, i) => input.setAttribute("aria-invalid", String(values[i] === undefined)));
    if (values.includes(undefined)) return;
    const name = this.opened;
    this.#open(null);
    this.#set([...this.ops, [name, ...values]]);
    this.tools[Object.keys(TOOLS).indexOf(name)].focus();
  }

  // --- as_strided, a slider for each number

  #sliders() {
    const last = this.ops.at(-1), shown = last?.[0] === "as_strided" && !this.failed;
    this.sliders.hidden = !shown;
    if (!shown) { this.sliders.replaceChildren(); this.knobs = null; return; }
    const { view } = this.steps.at(-1), rank = view.shape.length;
    if (this.knobs?.length !== 2 * rank + 1) this.#makeSliders(rank);
    this.#limitSliders(view);
  }

  #makeSliders(rank) {
    const knob = (label, depth, change) => {
      const input = element("input", { type: "range", tabIndex: 0, "aria-label": label });
      const output = element("output", {});
      const slide = event => { this.clock.input(event); this.#slide(change, Number(input.value)); };
      input.addEventListener("input", slide, { signal: this.signal });
      // Not while a hand drags: to send, and what a notebook does with the answer, would take from the next frame.
      input.addEventListener("change", this.save, { signal: this.signal });
      const className = depth === null ? "" : `kit-axis-${depth}`;
      return { input, output, node: element("label", { className }, element("span", {}, label), inPlace(input), inPlace(output)) };
    };
    const each = (part, slot) => Array.from({ length: rank }, (_, axis) => knob(`${part} ${axis}`, (rank - 1 - axis) % AXIS_COLOURS,
      (op, value) => changedAt(op, slot, changedAt(op[slot], axis, value))));
    this.knobs = [...each("size", 1), ...each("stride", 2), knob("offset", null, (op, value) => changedAt(op, 3, value))];
    this.redBox = element("input", { type: "checkbox", tabIndex: 0, checked: this.red });
    this.redBox.addEventListener("change", () => { this.red = this.redBox.checked; this.#sliders(); }, { signal: this.signal });
    this.sliders.replaceChildren(...this.knobs.map(({ node }) => node),
      element("label", { className: "kit-red" }, this.redBox, "let me leave the storage"));
  }

  #limitSliders(view) {
    const { size } = this.steps.at(-1).storage, rank = view.shape.length, inside = isInside(view, size) && !view.shape.includes(0);
    const limits = inside ? limitsOf(view, size, this.library) : null, numpy = this.library === "numpy";
    const ends = [...view.shape.map((now, axis) => this.red || !limits ? [1, now + 6] : [1, Math.min(limits.shape[axis], 64)]),
      ...view.strides.map((now, axis) => this.red || !limits ? [numpy ? -size : 0, size] : limits.strides[axis]),
      this.red || !limits ? [0, size + 6] : limits.offset];
    const values = [...view.shape, ...view.strides, view.offset];
    this.knobs.forEach(({ input, output }, i) => {
      for (const [name, number] of [["min", ends[i][0]], ["max", ends[i][1]], ["value", values[i]]]) {
        if (input[name] !== String(number)) input[name] = number;
      }
      say(output, String(values[i]).replace("-", "−"));
    });
  }

  #slide(change, value) { this.model.set("ops", [...this.ops.slice(0, -1), change(this.ops.at(-1), value)]); }
}

// The loops of a matrix product before a small cache.
class LoopViewer {
  static SIZE = 16;
  static ITEM = 8;
  static BLOCK = 8;

  constructor(panel) {
    this.panel = panel;
    this.order = "ijk";
    this.capacity = 16;
    const { signal } = panel, tiles = ["A", "B", "C"].map(name => new Tiles(panel.palette, `${name}, 16 by 16`, () => {}, signal));
    this.tiles = tiles;
    this.orders = Object.keys(LOOPS).map(order => {
      const count = element("span", {}), button = element("button", { type: "button", className: "kit-button kit-order", tabIndex: 0,
        "aria-pressed": "false" }, element("code", {}, order), count);
      button.addEventListener("click", () => { this.order = order; this.#restart(); }, { signal });
      return { order, button, count };
    });
    this.lines = element("select", { tabIndex: 0, "aria-label": "Lines of the cache" },
      ...[4, 8, 16, 32, 64, 128].map(lines => element("option", { value: lines, selected: lines === 16 }, `${lines} lines`)));
    this.lines.addEventListener("change", () => { this.capacity = Number(this.lines.value); this.#restart(); }, { signal });
    this.time = element("input", { type: "range", tabIndex: 0, min: 0, value: 0, "aria-label": "Read" });
    this.player = new Player({ at: () => Number(this.time.value), length: () => this.line.length - 1,
      move: read => { this.time.value = read; this.draw(); } }, signal, { longest: 60 });
    this.time.addEventListener("input", event => { panel.clock.input(event); this.player.pause(); this.draw(); }, { signal });
    this.time.addEventListener("keydown", event => {
      if (event.key !== " ") return;
      event.preventDefault();
      this.player.toggle();
    }, { signal });
    this.said = element("p", { className: "kit-formula" });
    this.node = element("details", { className: "kit-loops" },
      element("summary", { tabIndex: 0 }, "Cache lines and the order of loops"),
      element("p", { className: "kit-note" }, "C[i, j] += A[i, k] · B[k, j], three 16 × 16 matrices of float64, row-major, ",
        "each from the start of a line; blocked: 8 × 8 blocks. ",
        "The cache begins empty, holds any lines, and drops the one least recently used."),
      element("div", { className: "kit-bar" }, ...this.orders.map(({ button }) => button), this.lines),
      element("div", { className: "kit-player" }, this.player.button, this.player.speed, this.time),
      element("div", { className: "kit-terms" }, ...tiles.map((tile, i) =>
        element("figure", {}, element("figcaption", {}, element("code", {}, "ABC"[i])), tile.node))),
      this.said);
    this.node.addEventListener("toggle", () => this.node.open ? this.#change() : this.player.pause(), { signal });
  }

  #restart() {
    this.player.pause();
    this.time.value = 0;
    this.#change();
  }

  #change() {
    const { SIZE, ITEM, BLOCK } = LoopViewer;
    for (const { order, button, count } of this.orders) {
      const lines = linesRead(matmulReads(order, SIZE, BLOCK), SIZE, ITEM);
      const missed = missesOf(lines, this.capacity);
      count.textContent = ` ${grouped.format(missed.filter(Boolean).length)} misses`;
      button.setAttribute("aria-pressed", String(order === this.order));
      if (order === this.order) Object.assign(this, { missed, read: matmulReads(order, SIZE, BLOCK), line: lines });
    }
    this.time.max = this.line.length - 1;
    this.draw();
  }

  draw() {
    const { SIZE, ITEM } = LoopViewer, { panel, line, read, missed } = this, at = Number(this.time.value);
    const room = Math.min(250, (panel.width ?? 0) - 40);
    if (!this.node.open || room <= 0) return;
    const cache = new Cache(this.capacity);
    line.slice(0, at + 1).forEach(each => cache.read(each));
    const [matrix, row, column] = read[at], ready = panel.palette.tint(0.1);
    this.tiles.forEach((tiles, i) => {
      tiles.show({ shape: [SIZE, SIZE], room, cellOf: ([r, c]) => {
        const [its] = linesRead([[i, r, c]], SIZE, ITEM);
        return { fill: cache.has(its) ? ready : undefined };
      } });
      tiles.mark(i === matrix ? [[[row, column]], true] : [[], true]);
    });
    const until = missed.slice(0, at + 1).filter(Boolean).length, [now, all] = [at + 1, line.length].map(n => grouped.format(n));
    this.said.textContent = `read ${now} of ${all}: ${"ABC"[matrix]}[${row}, ${column}], ` +
      `${missed[at] ? "a miss" : "in the cache"}; ${grouped.format(until)} misses so far`;
    panel.clock.painted();
  }
}

export default () => asWidget("kit-arrays kit-strides",
  (model, root, signal) => new (model.get("ops") ? StrideViewer : StorageViewer)(model, root, signal));
