// A hundred thousand points on a canvas, written pixel by pixel: no driver, no library.
//
// The world is the unit square. A view gives the screen position of its corner and the CSS pixels
// per unit. Points are small squares written into the image's bytes, which takes a few milliseconds
// for all of them; labels are drawn over them, the largest first.

import type { MapData, MapLabel } from "./types";

export interface Points {
  dictionary: string;
  count: number;
  index: Int32Array;
  x: Uint16Array;
  y: Uint16Array;
  category: Uint8Array;
  size: Uint8Array;
  categories: string[];
  labels: MapLabel[];
}

export interface View {
  x: number;
  y: number;
  scale: number;
}

const WORLD = 65535;
const GRID = 128;
export const FARTHEST = 0.5;
export const NEAREST = 400;

function bytes(text: string): ArrayBuffer {
  const raw = atob(text);
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out.buffer;
}

export function decode(data: MapData): Points {
  return {
    dictionary: data.dictionary,
    count: data.count,
    index: new Int32Array(bytes(data.index)),
    x: new Uint16Array(bytes(data.x)),
    y: new Uint16Array(bytes(data.y)),
    category: new Uint8Array(bytes(data.category)),
    size: new Uint8Array(bytes(data.size)),
    categories: data.categories,
    labels: [...data.labels].sort((a, b) => a.level - b.level || b.count - a.count),
  };
}

/** Colours of categories on light and on dark: Okabe and Ito's, and two more. Other categories, and
 *  features without an explanation, are grey. */
const COLOURS = new Map<string, [string, string]>(
  Object.entries({
    object: ["#0072b2", "#5aa9e6"],
    scene: ["#d55e00", "#ee8a4a"],
    colour: ["#009e73", "#3fc79a"],
    emotion: ["#cc79a7", "#e39bc3"],
    material: ["#b58900", "#e8c547"],
    part: ["#56b4e9", "#9bd4f5"],
    text: ["#5d3a9b", "#b59ae0"],
    action: ["#b3202f", "#ff7a85"],
    texture: ["#7a4a21", "#c98f5e"],
  }),
);
const GREY: [string, string] = ["#7a7466", "#a39d90"];
export const colourOf = (category: string, dark: boolean): string =>
  (COLOURS.get(category) ?? GREY)[dark ? 1 : 0];

/** #rgb or #rrggbb as the little-endian pixel of an ImageData. */
function pixel(colour: string): number {
  const digits = colour.slice(1);
  const n = Number.parseInt(digits.length === 3 ? digits.replace(/./g, "$&$&") : digits, 16);
  return (0xff000000 | ((n & 0xff) << 16) | (n & 0xff00) | (n >> 16)) >>> 0;
}

export interface Look {
  dark: boolean;
  ground: string;
  ink: string;
  faint: string;
  /** Categories that are dimmed. */
  hidden: ReadonlySet<number>;
  /** Indices of highlighted points; null without a search. */
  marked: ReadonlySet<number> | null;
  here: number;
}

export class Painter {
  private image: ImageData | null = null;
  private pixels = new Uint32Array(0);

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly points: Points,
  ) {}

  /** Draw the map; `view` in CSS pixels. */
  draw(view: View, look: Look): void {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const width = Math.round(this.canvas.clientWidth * ratio);
    const height = Math.round(this.canvas.clientHeight * ratio);
    const pen = this.canvas.getContext("2d");
    if (!pen || width < 1 || height < 1) return;
    if (this.canvas.width !== width || this.canvas.height !== height || !this.image) {
      [this.canvas.width, this.canvas.height] = [width, height];
      this.image = pen.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    this.pixels.fill(pixel(look.ground));
    const base = Math.max(1.4, 6.4 - Math.log10(this.points.count + 1)); // fewer points, larger ones
    const side = Math.max(
      2,
      Math.min(10, Math.round(ratio * (base - 0.9 + Math.log2(1 + view.scale / 900)))),
    );
    if (look.hidden.size || look.marked) this.dots(view, look, ratio, side, true);
    this.dots(view, look, ratio, side, false);
    pen.putImageData(this.image, 0, 0);
    pen.save();
    pen.scale(ratio, ratio);
    this.names(pen, view, look, width / ratio, height / ratio);
    this.ring(pen, view, look);
    pen.restore();
  }

  /** One pass over the points, the dimmed ones first, so that they lie below. */
  private dots(view: View, look: Look, ratio: number, side: number, dimmed: boolean): void {
    const { x, y, category, categories, count } = this.points;
    const { width, height } = this.canvas;
    const pixels = this.pixels;
    const k = (view.scale * ratio) / WORLD;
    const [ox, oy] = [view.x * ratio - side / 2, view.y * ratio - side / 2];
    const colours = categories.map((name) => pixel(colourOf(name, look.dark)));
    const faint = pixel(look.faint);
    const hidden = Array.from({ length: 256 }, (_, c) => look.hidden.has(c));
    for (let i = 0; i < count; i++) {
      const kind = category[i] as number;
      const dim = hidden[kind] || (look.marked !== null && !look.marked.has(i));
      if (dim !== dimmed) continue;
      const left = Math.round((x[i] as number) * k + ox);
      const top = Math.round((y[i] as number) * k + oy);
      if (left < 0 || top < 0 || left + side > width || top + side > height) continue;
      const colour = dim ? faint : (colours[kind] as number);
      for (let row = top * width + left, last = row + side * width; row < last; row += width)
        for (let at = row; at < row + side; at++) pixels[at] = colour;
    }
  }

  private ring(pen: CanvasRenderingContext2D, view: View, look: Look): void {
    if (look.here < 0) return;
    const { x, y } = onScreen(this.points, look.here, view);
    pen.beginPath();
    pen.arc(x, y, 9, 0, 2 * Math.PI);
    pen.lineWidth = 2.5;
    pen.strokeStyle = look.ink;
    pen.stroke();
  }

  /** Labels of this zoom level that overlap no label before them. */
  private names(pen: CanvasRenderingContext2D, view: View, look: Look, width: number, height: number): void {
    const due = Math.log2(Math.max(1, view.scale / Math.min(width, height)));
    const taken: [number, number, number, number][] = [];
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    for (const label of this.points.labels) {
      if (label.level > due + 0.4) continue;
      const [x, y] = [view.x + label.x * view.scale, view.y + label.y * view.scale];
      if (x < 0 || y < 0 || x > width || y > height) continue;
      pen.font = `600 ${label.level === 0 ? 14 : 12.5}px system-ui, sans-serif`;
      const half = pen.measureText(label.text).width / 2 + 6;
      if (taken.some(([l, t, r, b]) => x - half < r && x + half > l && y - 10 < b && y + 10 > t)) continue;
      taken.push([x - half, y - 10, x + half, y + 10]);
      pen.lineWidth = 4;
      pen.strokeStyle = look.ground;
      pen.strokeText(label.text, x, y);
      pen.fillStyle = look.ink;
      pen.fillText(label.text, x, y);
    }
  }
}

export const onScreen = (points: Points, i: number, view: View): { x: number; y: number } => ({
  x: view.x + ((points.x[i] as number) / WORLD) * view.scale,
  y: view.y + ((points.y[i] as number) / WORLD) * view.scale,
});

/** Finds the points near a place, by a grid over the world. */
export class Finder {
  private readonly cells = new Map<number, number[]>();

  constructor(private readonly points: Points) {
    for (let i = 0; i < points.count; i++) {
      const cell = this.cell((points.x[i] as number) / WORLD, (points.y[i] as number) / WORLD);
      const found = this.cells.get(cell);
      if (found) found.push(i);
      else this.cells.set(cell, [i]);
    }
  }

  private cell(x: number, y: number): number {
    const clip = (v: number) => Math.min(GRID - 1, Math.max(0, Math.floor(v * GRID)));
    return clip(y) * GRID + clip(x);
  }

  /** Up to `most` points within `reach` of a place of the world, nearest first. */
  near(x: number, y: number, reach: number, most = 1): number[] {
    const found: [number, number][] = [];
    const clip = (v: number) => Math.min(GRID - 1, Math.max(0, Math.floor(v * GRID)));
    for (let row = clip(y - reach); row <= clip(y + reach); row++)
      for (let column = clip(x - reach); column <= clip(x + reach); column++)
        for (const i of this.cells.get(row * GRID + column) ?? []) {
          const far = Math.hypot(
            (this.points.x[i] as number) / WORLD - x,
            (this.points.y[i] as number) / WORLD - y,
          );
          if (far <= reach) found.push([far, i]);
        }
    return found
      .sort((a, b) => a[0] - b[0])
      .slice(0, most)
      .map(([, i]) => i);
  }
}

/** The view that shows the whole map in the middle of a canvas. */
export function fit(width: number, height: number): View {
  const scale = Math.min(width, height) * 0.94;
  return { x: (width - scale) / 2, y: (height - scale) / 2, scale };
}

/** Zoom in or out around the pointer. */
export function zoom(view: View, by: number, at: { x: number; y: number }, side: number): View {
  const scale = Math.min(side * NEAREST, Math.max(side * FARTHEST, view.scale * by));
  const k = scale / view.scale;
  return { scale, x: at.x - (at.x - view.x) * k, y: at.y - (at.y - view.y) * k };
}
