// Heat on pictures: one rule for overlapping cells and one colour scale, those of
// `src/semascope/heat.py`. Both are tested against `heat.golden.json`.
//
// Rule: the strongest cell on a pixel wins. Scale: warm for positive values, blue for negative
// ones, lighter and more opaque as they grow (Okabe and Ito's colours).

import type { Picture } from "./types";

type Rgb = [number, number, number];
export type Rgba = [number, number, number, number];

const WARM: Rgb[] = [
  [213, 94, 0],
  [230, 159, 0],
  [240, 228, 66],
];
const COLD: Rgb[] = [
  [0, 114, 178],
  [43, 147, 205],
  [86, 180, 233],
];
const OPACITY = 0.8;

export const share = (value: number, maximum: number): number =>
  maximum > 0 ? Math.min(1, Math.max(0, value / maximum)) : 0;

/** Red, green, blue and opacity, 0 to 255, of a value; `maximum` has full strength. */
export function colour(value: number, maximum: number): Rgba {
  const t = Math.min(1, Math.abs(value) / (maximum || 1));
  const stops = value < 0 ? COLD : WARM;
  const at = t * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(at));
  const mixed = (k: 0 | 1 | 2): number => {
    const [a, b] = [(stops[i] as Rgb)[k], (stops[i + 1] as Rgb)[k]];
    return Math.round(a + (b - a) * (at - i));
  };
  return [mixed(0), mixed(1), mixed(2), value === 0 ? 0 : Math.round(255 * OPACITY * t)];
}

export const css = ([r, g, b, alpha]: Rgba): string => `rgb(${r} ${g} ${b} / ${(alpha / 255).toFixed(3)})`;

interface Cell {
  x: number;
  y: number;
  width: number;
  height: number;
  value: number;
}

/** Whole pixels of a side of a cell: neighbours share none, and none is empty. */
function span(start: number, end: number, size: number): [number, number] {
  const first = Math.min(Math.floor(start + 0.5), size - 1);
  const last = Math.min(Math.max(Math.floor(end + 0.5), first + 1), size);
  return [first, last - first];
}

/** The cells of a picture scaled to a canvas, weakest first: paint them in this order. */
export function cells(picture: Picture, width: number, height: number): Cell[] {
  const [kx, ky] = [width / picture.width, height / picture.height];
  return picture.rects
    .map(([left, top, right, bottom], i) => {
      const [x, across] = span(left * kx, right * kx, width);
      const [y, down] = span(top * ky, bottom * ky, height);
      return { x, y, width: across, height: down, value: picture.values[i] ?? 0 };
    })
    .filter((cell) => cell.value !== 0)
    .sort((a, b) => Math.abs(a.value) - Math.abs(b.value));
}

const loaded = new Map<string, Promise<HTMLImageElement>>();

/** A picture by its address, fetched once; the oldest are dropped after a thousand. */
export function image(url: string): Promise<HTMLImageElement> {
  let pending = loaded.get(url);
  if (!pending) {
    pending = new Promise((resolve, reject) => {
      const element = new Image();
      element.decoding = "async";
      element.onload = () => resolve(element);
      element.onerror = () => {
        loaded.delete(url);
        reject(new Error("The picture could not be loaded."));
      };
      element.src = url;
    });
    loaded.set(url, pending);
    const oldest = loaded.keys().next();
    if (loaded.size > 1000 && !oldest.done) loaded.delete(oldest.value);
  }
  return pending;
}

/** Draw a picture and its heat, as wide as the canvas is on the page. */
export function paint(
  canvas: HTMLCanvasElement,
  source: HTMLImageElement,
  picture: Picture,
  maximum: number,
  heat: boolean,
): void {
  const scale = Math.min(2, window.devicePixelRatio || 1);
  const width = Math.max(1, Math.round(canvas.clientWidth * scale));
  const height = Math.max(1, Math.round((width * picture.height) / picture.width));
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(source, 0, 0, width, height);
  if (heat && picture.rects.length > 0) pen.drawImage(layer(picture, maximum, width, height), 0, 0);
}

/** The heat alone, on a clear ground. */
function layer(picture: Picture, maximum: number, width: number, height: number): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  if (!pen) return canvas;
  for (const cell of cells(picture, width, height)) {
    // A stronger cell replaces what lies beneath it: colours do not add up.
    pen.clearRect(cell.x, cell.y, cell.width, cell.height);
    pen.fillStyle = css(colour(cell.value, maximum));
    pen.fillRect(cell.x, cell.y, cell.width, cell.height);
  }
  return canvas;
}

/** The feature's activation at a point of the picture; null outside of all cells. */
export function valueAt(picture: Picture, x: number, y: number): number | null {
  let strongest: number | null = null;
  picture.rects.forEach(([left, top, right, bottom], i) => {
    const value = picture.values[i] ?? 0;
    const inside = x >= left && x < right && y >= top && y < bottom;
    if (inside && (strongest === null || Math.abs(value) >= Math.abs(strongest))) strongest = value;
  });
  return strongest;
}
