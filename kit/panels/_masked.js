// From the differences to a mask, and what is measured of it: the arithmetic of mask.py, to the last bit.

// The value of a rank in ascending order. Reorders the values, so that none after the rank is smaller.
function select(values, rank) {
  for (let low = 0, high = values.length - 1; low < high;) {
    const pivot = values[(low + high) >> 1];
    let i = low, j = high;
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i <= j) {
        [values[i], values[j]] = [values[j], values[i]];
        i++;
        j--;
      }
    }
    if (rank <= j) high = j;
    else if (rank >= i) low = i;
    else break;
  }
  return values[rank];
}

// Linear between the two nearest values.
function quantile(values, share) {
  const copy = values.slice(), place = share * (copy.length - 1), below = Math.floor(place);
  const value = select(copy, below);
  let next = copy[Math.min(below + 1, copy.length - 1)];
  for (let i = below + 2; i < copy.length; i++) if (copy[i] < next) next = copy[i];
  return value + (place - below) * (next - value);
}

// The first n of the maps as one map in [0, 1]; low and span are what became 0, and what became 1 less that.
function normalised(maps, area, n, clip) {
  const mean = new Float64Array(area);
  for (let sample = 0; sample < n; sample++) {
    for (let i = 0, from = sample * area; i < area; i++) mean[i] += maps[from + i];
  }
  for (let i = 0; i < area; i++) mean[i] /= n;
  if (clip === null) return { map: mean, mean, low: 0, span: 1 };
  const low = mean.reduce((a, b) => a < b ? a : b), high = quantile(mean, clip), span = high - low;
  if (span <= 16 * 2 ** -23 * high) return { map: new Float64Array(area), mean, low, span: 0 };
  return { map: mean.map(value => (Math.min(value, high) - low) / span), mean, low, span };
}

// The standard deviation of each cell over all noises.
function deviations(maps, area, count) {
  const sums = new Float64Array(area), squares = new Float64Array(area);
  for (let i = 0; i < count * area; i++) sums[i % area] += maps[i] / count;
  for (let i = 0; i < count * area; i++) squares[i % area] += (maps[i] - sums[i % area]) ** 2;
  return squares.map(square => Math.sqrt(square / (count - 1)));
}

// Whether a cell's mean over n noises lies within two standard errors of the threshold, so that other noises
// might have put it on the other side.
function doubtful({ mean, low, span }, deviation, n, threshold) {
  const level = low + threshold * span, far = 2 / Math.sqrt(n), found = new Uint8Array(mean.length);
  if (span === 0) return found;
  for (let i = 0; i < mean.length; i++) found[i] = Math.abs(mean[i] - level) <= far * deviation[i] ? 1 : 0;
  return found;
}

// The share of such cells, without a list of them: it is asked for at every n.
function shareInDoubt({ mean, low, span }, deviation, n, threshold) {
  const level = low + threshold * span, far = 2 / Math.sqrt(n);
  if (span === 0) return 0;
  let sum = 0;
  for (let i = 0; i < mean.length; i++) if (Math.abs(mean[i] - level) <= far * deviation[i]) sum++;
  return sum / mean.length;
}

const OTSU = 256;

// The threshold of the greatest variance between the classes (Otsu 1979), among 1/256, 2/256, ...; in the middle,
// where several are as good.
function otsu(map) {
  const counts = new Float64Array(OTSU), sums = new Float64Array(OTSU);
  for (const value of map) {
    const bin = Math.max(0, Math.ceil(value * OTSU) - 1);
    counts[bin] += 1;
    sums[bin] += value;
  }
  const total = sums.reduce((a, b) => a + b, 0);
  let best = 0, first = OTSU / 2, last = OTSU / 2, count = 0, sum = 0;
  for (let edge = 1; edge < OTSU; edge++) {
    count += counts[edge - 1];
    sum += sums[edge - 1];
    const rest = map.length - count, gap = count && rest ? sum / count - (total - sum) / rest : 0;
    const variance = count * rest * gap * gap;
    if (variance > best * (1 + 1e-12)) [best, first, last] = [variance, edge, edge];
    else if (best && variance >= best * (1 - 1e-12)) last = edge;
  }
  return (first + last) / 2 / OTSU;
}

// How many parts a mask has; cells hang together across their edges, not their corners.
function components(mask, width) {
  const waiting = mask.slice(), stack = new Uint32Array(mask.length);
  let count = 0, top = 0;
  const wait = cell => { if (waiting[cell]) { waiting[cell] = 0; stack[top++] = cell; } };
  for (let start = 0; start < mask.length; start++) {
    if (!waiting[start]) continue;
    count += 1;
    wait(start);
    while (top) {
      const cell = stack[--top], column = cell % width;
      if (column > 0) wait(cell - 1);
      if (column < width - 1) wait(cell + 1);
      if (cell >= width) wait(cell - width);
      if (cell + width < mask.length) wait(cell + width);
    }
  }
  return count;
}

const inPercent = part => `${fixed(100 * part, 1)} %`;
// A loop: over a map of many cells, a function called for each takes ten times as long.
function share(mask) {
  let sum = 0;
  for (let i = 0; i < mask.length; i++) sum += mask[i];
  return sum / mask.length;
}

function above(values, threshold) {
  const found = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) found[i] = values[i] > threshold ? 1 : 0;
  return found;
}

function overlap(mask, truth) {
  let both = 0, either = 0;
  for (let i = 0; i < mask.length; i++) {
    both += mask[i] & truth[i];
    either += mask[i] | truth[i];
  }
  return either ? both / either : 1;
}

// --- a bit a cell, and as text

const bitsOf = (bytes, from, count) => Uint8Array.from({ length: count }, (_, i) => bytes[from + (i >> 3)] >> (7 - (i & 7)) & 1);

// What is painted: 1 in the mask, -1 out of it, 0 as the threshold has it.
function unpacked(text, area) {
  const layer = new Int8Array(area);
  if (!text) return layer;
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0)), length = Math.ceil(area / 8);
  const added = bitsOf(bytes, 0, area), erased = bitsOf(bytes, length, area);
  return layer.map((_, i) => erased[i] ? -1 : added[i]);
}

function packed(layer) {
  if (layer.every(cell => cell === 0)) return "";
  const length = Math.ceil(layer.length / 8), bytes = new Uint8Array(2 * length);
  layer.forEach((cell, i) => { if (cell) bytes[(cell < 0 ? length : 0) + (i >> 3)] |= 128 >> (i & 7); });
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
