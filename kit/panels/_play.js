// Shared by the panels that step through loops: a play button and its speed.

const SPEEDS = [1, 2, 4, 0.5];

// Goes from `at()` to `length()` by calls of `move(step)`, one a frame at most, at an even pace: `slowest` steps a
// second, or as many as end within `longest` seconds; `rest()`, if there is one, is told when it no longer plays.
class Player {
  #asked = 0;
  #speed = SPEEDS[0];
  #last = 0;
  #owed = 0;

  constructor(steps, signal, { slowest = 4, longest = 20 } = {}) {
    Object.assign(this, { steps, slowest, longest });
    const button = properties => element("button", { type: "button", tabIndex: 0, ...properties });
    this.button = button({ className: "kit-button kit-play", "aria-label": "Play", title: "Play or pause (Space)" });
    this.speed = button({ className: "kit-button kit-speed", "aria-label": "Speed 1×", textContent: "1×" });
    this.button.addEventListener("click", () => this.toggle(), { signal });
    this.speed.addEventListener("click", () => this.#faster(), { signal });
    signal.addEventListener("abort", () => this.pause());
  }

  get playing() { return this.#asked > 0; }

  toggle() {
    if (this.playing) return this.pause();
    const { at, length, move } = this.steps;
    if (at() >= length()) move(0);
    this.#last = this.#owed = 0;
    this.#ask();
  }

  pause() {
    if (!this.playing) return;
    cancelAnimationFrame(this.#asked);
    this.#asked = 0;
    this.#show();
    this.steps.rest?.();
  }

  #ask() {
    this.#asked = requestAnimationFrame(now => this.#advance(now));
    this.#show();
  }

  #show() {
    this.button.classList.toggle("kit-playing", this.playing);
    this.button.setAttribute("aria-label", this.playing ? "Pause" : "Play");
  }

  #faster() {
    this.#speed = SPEEDS[(SPEEDS.indexOf(this.#speed) + 1) % SPEEDS.length];
    this.speed.textContent = `${this.#speed}×`;
    this.speed.setAttribute("aria-label", `Speed ${this.#speed}×`);
  }

  #advance(now) {
    const { at, length, move } = this.steps, pace = Math.max(this.slowest, length() / this.longest) * this.#speed;
    this.#owed += this.#last ? (now - this.#last) / 1000 * pace : 0;
    this.#last = now;
    const whole = Math.floor(this.#owed);
    this.#owed -= whole;
    if (whole) move(Math.min(length(), at() + whole));
    if (at() >= length()) this.pause();
    else this.#ask();
  }
}
