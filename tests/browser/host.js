// A bare page that stands for a notebook: a widget model without a kernel, and a log of what the panel would send it.

window.host = async text => {
  const bytes = coded => new DataView(Uint8Array.from(atob(coded), c => c.charCodeAt(0)).buffer);
  const state = JSON.parse(text, (_, value) => typeof value?.base64 === "string" ? bytes(value.base64) : value);
  const heard = [];
  const fire = (name, ...given) => heard.filter(([n]) => n === name).forEach(([, hear]) => hear(...given));
  let changed = {};
  const set = (name, value) => {
    if (state[name] === value) return false;
    state[name] = value;
    fire(`change:${name}`);
    return true;
  };
  const model = {
    get: name => state[name],
    set: (name, value) => { if (set(name, value)) changed[name] = value; },
    save_changes() {
      if (Object.keys(changed).length) log.push({ kind: "save", state: changed, at: performance.now() });
      changed = {};
    },
    send: content => log.push({ kind: "send", content }),
    on: (name, hear) => heard.push([name, hear]),
    off: (name, hear) => {
      const at = heard.findIndex(([n, h]) => n === name && h === hear);
      if (at >= 0) heard.splice(at, 1);
    },
  };
  const log = [];
  const style = document.createElement("style");
  style.textContent = state._css;
  document.head.append(style);
  const module = await import(URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" })));
  const widget = typeof module.default === "function" ? await module.default() : module.default;
  const end = await widget.initialize?.({ model });
  const views = [];
  Object.assign(window, {
    log, end, views, listening: () => heard.length,
    kernel: {
      set,
      frames: (table, coded) => fire("msg:custom", { kind: "frames", table }, [bytes(coded)]),
      state: (table, coded) => set("_frames", { table, blob: bytes(coded) }),
      say: content => fire("msg:custom", content, []),
    },
    async open() {
      const el = document.createElement("div"), ended = new AbortController();
      document.querySelector("main").append(el);
      const cleanup = await widget.render({ model, el, signal: ended.signal });
      const view = { el, remove() { ended.abort(); el.remove(); }, cleanup };
      views.push(view);
      return views.length - 1;
    },
  });
};

// Every bitmap made and not yet closed.
const living = new Set();
window.made = 0;
window.alive = () => living.size;
const make = createImageBitmap, close = ImageBitmap.prototype.close;
window.createImageBitmap = async (...given) => {
  const bitmap = await make(...given);
  living.add(bitmap);
  window.made += 1;
  return bitmap;
};
ImageBitmap.prototype.close = function () { living.delete(this); close.call(this); };

window.beyondTheEdge = () => [...document.querySelectorAll(".kit-panel *")]
  .filter(el => el.getBoundingClientRect().right > innerWidth + 0.5).map(el => el.className || el.tagName);

window.places = () => [...document.querySelectorAll(".kit-panel, .kit-panel :is(figure, dt, .kit-label, footer)")]
  .map(el => el.getBoundingClientRect()).map(({ x, y, height }) => [x, y, height]);

window.focusable = () => [...document.querySelectorAll(".kit-panel *")].filter(el => el.tabIndex >= 0)
  .map(el => [el.className || el.tagName, el.dataset.lmSuppressShortcuts]);

// The colour at a share of a canvas's width, half way down; through a copy, for reading a canvas slows it.
window.colourAt = (canvas, share) => {
  const copy = new OffscreenCanvas(1, 1), context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, -Math.floor(share * canvas.width), -Math.floor(canvas.height / 2));
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
};

window.stripColours = count => Array.from({ length: count }, (_, i) =>
  colourAt(document.querySelector(".kit-strip"), (i + 0.5) / count));

// Milliseconds from a call to the end of the task after the next frame, when nothing is drawn in between.
window.nothingDrawn = async count => {
  const times = [];
  for (let i = 0; i < count; i++) {
    const since = performance.now();
    await new Promise(done => requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => { times.push(performance.now() - since); done(); };
      channel.port2.postMessage(0);
    }));
    await new Promise(done => setTimeout(done, 20));
  }
  times.sort((a, b) => a - b);
  return { p50: times[Math.floor(count * 0.5)], p95: times[Math.floor(count * 0.95)] };
};

// A drag over all steps, one every few milliseconds; gives what the panel measured.
window.drag = async (count, steps, pause = 20) => {
  const slider = document.querySelector(".kit-slider"), box = slider.getBoundingClientRect();
  slider.setPointerCapture = () => {};  // no pointer is really down
  const at = (type, step) => slider.dispatchEvent(new PointerEvent(type, { bubbles: true,
    clientX: box.left + (step + 0.5) * box.width / steps, clientY: box.top + 20 }));
  at("pointerdown", 0);
  for (let i = 1; i <= count; i++) {
    at("pointermove", i % steps);
    await new Promise(done => setTimeout(done, pause));
  }
  at("pointerup", 0);
  return log.at(-1).state._timing;
};
