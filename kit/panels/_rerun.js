// A picture, or several, that the kernel makes anew: what is there of it, and what is said until it is.

const PATIENCE = 3000;

class Rerun {
  #turn = 0;
  #asked = 0;      // when one was wished for that has not begun
  #stopping = false;
  #running = null; // {key, step, bitmaps} of the one under way
  expected = 0;    // steps of the last one that ended

  // tell(): what there is has changed. finished(key, parts): one has ended well, its pictures' bytes are these.
  constructor(model, tell, finished) {
    Object.assign(this, { model, tell, finished });
    model.on("change:status", () => this.#status());
    model.on("msg:custom", (message, buffers) => this.#hear(message, buffers ?? []));
  }

  get possible() { return this.model.get("runs"); }

  get live() { return this.model.get("status") === "running" ? this.#running : null; }

  // What is waited for, in words.
  get waits() {
    const late = performance.now() - this.#asked > PATIENCE;
    return this.#asked && (late ? "no answer: the kernel is busy, or there is none" : "asked for, not begun");
  }

  get state() {
    return { running: this.#stopping ? "stopping" : "running", cancelled: "stopped" }[this.model.get("status")] ?? "";
  }

  // Something was chosen; whether what it needs is missing and so will be made.
  chosen(missing) {
    this.#stopping = false;
    this.#asked = this.possible && missing ? performance.now() : 0;
    clearTimeout(this.timer);
    if (this.#asked) this.timer = setTimeout(() => this.tell(), PATIENCE + 50);
    this.tell();
  }

  run() {
    this.model.send({ kind: "run" });
    this.chosen(true);
  }

  stop() {
    this.model.send({ kind: "stop" });
    this.#stopping = true;
    this.tell();
  }

  #status() {
    this.#asked = 0;
    this.#stopping = false;
    if (this.model.get("status") !== "running") this.#drop();
    this.tell();
  }

  #hear(message, [buffer]) {
    if (message.kind !== "step" && message.kind !== "sample") return;
    const parts = apart(buffer ?? Uint8Array.from(atob(message.base64), c => c.charCodeAt(0)), message.lengths);
    if (message.kind === "step") return this.#step(message, parts);
    this.expected = this.#running?.step ?? 0;
    this.finished(message.key, parts);
  }

  // The pictures before stay until these are decoded; those that took longer than later ones are dropped.
  async #step({ key, step }, parts) {
    const turn = ++this.#turn;
    this.#running = { ...this.#running, key, step };
    const bitmaps = await Promise.all(parts.map(decoded));
    if (!this.#running || turn < this.#running.turn) return release(bitmaps);
    release(this.#running.bitmaps);
    Object.assign(this.#running, { bitmaps, turn });
    this.tell();
  }

  #drop() {
    release(this.#running?.bitmaps);
    this.#running = null;
  }

  close() {
    clearTimeout(this.timer);
    this.#drop();
  }
}

// Bytes as parts of these lengths, or as one part.
function apart(buffer, lengths) {
  const bytes = ArrayBuffer.isView(buffer) ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength) : new Uint8Array(buffer);
  let start = 0;
  return (lengths ?? [bytes.length]).map(length => bytes.slice(start, start += length));
}

const decoded = bytes => createImageBitmap(new Blob([bytes])).catch(() => undefined);
const release = bitmaps => { for (const bitmap of bitmaps ?? []) bitmap?.close(); };  // gives undefined
