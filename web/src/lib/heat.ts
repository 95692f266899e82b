// One scale for heat, on pictures and on text, and how it is drawn.
//
// Strength is told twice, so that it survives a printer and any colour vision: by lightness
// (what is silent lies under a veil, what fires is clear) and by a blue-to-amber tint whose
// lightness rises with it.

import type { Picture } from "./types";

type Rgb = [number, number, number];
const STOPS: Rgb[] = [
  [44, 62, 110],
  [112, 92, 132],
  [196, 116, 92],
  [243, 164, 52],
  [255, 214, 92],
];
const VEIL: Rgb = [16, 22, 36];
const VEIL_MOST = 0.7;
const TINT_MOST = 0.42;

export const share = (value: number, maximum: number): number =>
  maximum > 0 ? Math.min(1, Math.max(0, value / maximum)) : 0;

export function ramp(t: number): Rgb {
  const at = Math.min(1, Math.max(0, t)) * (STOPS.length - 1);
  const i = Math.min(STOPS.length - 2, Math.floor(at));
  const a = STOPS[i] as Rgb;
  const b = STOPS[i + 1] as Rgb;
  return a.map((x, k) => Math.round(x + ((b[k] as number) - x) * (at - i))) as Rgb;
}

const css = ([r, g, b]: Rgb, alpha: number) => `rgb(${r} ${g} ${b} / ${alpha.toFixed(3)})`;
export const veil = (t: number): string => css(VEIL, VEIL_MOST * (1 - t) ** 1.15);
export const tint = (t: number): string => css(ramp(t), t > 0 ? TINT_MOST * t ** 0.6 : 0);

const loaded = new Map<string, Promise<HTMLImageElement>>();

/** A picture by its address, fetched once; the oldest are forgotten after a thousand. */
export function image(url: string): Promise<HTMLImageElement> {
  let found = loaded.get(url);
  if (!found) {
    found = new Promise((resolve, reject) => {
      const element = new Image();
      element.decoding = "async";
      element.onload = () => resolve(element);
      element.onerror = () => {
        loaded.delete(url);
        reject(new Error("The picture could not be loaded."));
      };
      element.src = url;
    });
    loaded.set(url, found);
    const oldest = loaded.keys().next();
    if (loaded.size > 1000 && !oldest.done) loaded.delete(oldest.value);
  }
  return found;
}

/** Draw a picture and its heat, `side` CSS pixels wide. */
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
  if (!heat || picture.rects.length === 0) return;
  const kx = width / picture.width;
  const ky = height / picture.height;
  picture.rects.forEach(([left, top, right, bottom], i) => {
    const t = share(picture.values[i] ?? 0, maximum);
    const x = Math.round(left * kx);
    const y = Math.round(top * ky);
    const w = Math.round(right * kx) - x;
    const h = Math.round(bottom * ky) - y;
    for (const fill of [veil(t), tint(t)]) {
      pen.fillStyle = fill;
      pen.fillRect(x, y, w, h);
    }
  });
}

/** The cell under a point of the picture, and what the feature is there. */
export function valueAt(picture: Picture, x: number, y: number): number | null {
  let found: number | null = null;
  picture.rects.forEach(([left, top, right, bottom], i) => {
    if (x >= left && x < right && y >= top && y < bottom)
      found = Math.max(found ?? 0, picture.values[i] ?? 0);
  });
  return found;
}
