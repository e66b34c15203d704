// Values to brightness. A picture is sampled once for each view, in its own unit; windowing touches the samples only.

const STEPS = 4096;
const BLACK = 0xff000000;
const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, int16: Int16Array, float32: Float32Array };

/** Opaque grey of a brightness from 0 to 255, as the word that ImageData holds (little endian). */
const grey = (brightness) => (BLACK | (brightness << 16) | (brightness << 8) | brightness) >>> 0;

/** The greys of equal steps from a window's low end to its high end. */
function ramp(curve, inverted) {
  const table = new Uint32Array(curve ? curve.length : STEPS);
  for (let step = 0; step < table.length; step++) {
    const brightness = curve ? curve[step] : Math.round((255 * step) / (table.length - 1));
    table[step] = grey(inverted ? 255 - brightness : brightness);
  }
  return table;
}

/** Window samples into words of an ImageData; what is no number is padding, and black. */
function shade(samples, words, low, high, table) {
  const last = table.length - 1;
  const gain = last / Math.max(high - low, 1e-9);
  const from = 0.5 - low * gain;
  for (let place = 0; place < words.length; place++) {
    const step = samples[place] * gain + from;
    words[place] = step >= 0 ? table[step < last ? step | 0 : last] : step < 0 ? table[0] : BLACK;
  }
}

/** A grey picture in ever coarser levels, each the means of two by two pixels of the one before; made when needed. */
class Pyramid {
  constructor(values, width, height) {
    this.levels = [{ values: Float32Array.from(values), width, height }];
  }

  /** The coarsest level that still has a pixel for each step, at so many steps a pixel of the picture. */
  level(steps) {
    const wanted = Math.max(0, Math.floor(Math.log2(1 / steps)));
    while (this.levels.length <= wanted && this.levels.at(-1).width > 1 && this.levels.at(-1).height > 1)
      this.levels.push(halved(this.levels.at(-1)));
    const place = Math.min(wanted, this.levels.length - 1);
    return { ...this.levels[place], size: 2 ** place };
  }
}

function halved({ values, width, height }) {
  const [across, down] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  const means = new Float32Array(across * down);
  for (let y = 0, place = 0; y < down; y++) {
    const top = 2 * y * width;
    const bottom = Math.min(2 * y + 1, height - 1) * width;
    for (let x = 0; x < across; x++, place++) {
      const [left, right] = [2 * x, Math.min(2 * x + 1, width - 1)];
      means[place] = (values[top + left] + values[top + right] + values[bottom + left] + values[bottom + right]) / 4;
    }
  }
  return { values: means, width: across, height: down };
}

/** Where samples fall between the pixels of a row or column: the pixel before, the one after, and the share of it. */
function between(count, first, step, size, length) {
  const before = new Int32Array(count);
  const after = new Int32Array(count);
  const share = new Float32Array(count);
  for (let place = 0; place < count; place++) {
    const at = Math.min(Math.max((first + (place + 0.5) * step) / size - 0.5, 0), length - 1);
    before[place] = at | 0;
    after[place] = Math.min(before[place] + 1, length - 1);
    share[place] = at - before[place];
  }
  return { before, after, share };
}

/** Sample a pyramid bilinearly on a grid that begins at (x, y), in pixels of the picture, with these steps. */
function sampled(pyramid, columns, rows, x, y, stepX, stepY) {
  const { values, width, height, size } = pyramid.level(1 / Math.max(stepX, stepY));
  const across = between(columns, x, stepX, size, width);
  const down = between(rows, y, stepY, size, height);
  const samples = new Float32Array(columns * rows);
  for (let row = 0, place = 0; row < rows; row++) {
    const [top, bottom, below] = [down.before[row] * width, down.after[row] * width, down.share[row]];
    for (let column = 0; column < columns; column++, place++) {
      const [left, right, beyond] = [across.before[column], across.after[column], across.share[column]];
      const upper = values[top + left] + (values[top + right] - values[top + left]) * beyond;
      const lower = values[bottom + left] + (values[bottom + right] - values[bottom + left]) * beyond;
      const sample = upper + (lower - upper) * below;
      samples[place] = sample === sample ? sample : values[(below < 0.5 ? top : bottom) + (beyond < 0.5 ? left : right)];
    }
  }
  return samples;
}

/** A colour picture, drawn once where the page can stretch it. */
function painted(values, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const picture = new ImageData(width, height);
  for (let from = 0, to = 0; from < values.length; to += 4) {
    for (let channel = 0; channel < 3; channel++) picture.data[to + channel] = values[from++];
    picture.data[to + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}
