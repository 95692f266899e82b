import { describe, expect, it } from "vitest";
import { decode, FARTHEST, Finder, fit, NEAREST, onScreen, zoom } from "./map";

const base64 = (array: { buffer: ArrayBufferLike }) =>
  btoa(String.fromCharCode(...new Uint8Array(array.buffer as ArrayBuffer)));
const points = decode({
  dictionary: "site/name",
  count: 3,
  index: base64(new Int32Array([5, 70000, 9])),
  x: base64(new Uint16Array([0, 32768, 65535])),
  y: base64(new Uint16Array([0, 32768, 65535])),
  category: base64(new Uint8Array([0, 1, 0])),
  size: base64(new Uint8Array([1, 2, 3])),
  categories: ["object", "text"],
  labels: [
    { text: "small", x: 0, y: 0, level: 1, count: 9 },
    { text: "few", x: 0, y: 0, level: 0, count: 1 },
    { text: "many", x: 0, y: 0, level: 0, count: 5 },
  ],
  note: "",
});

describe("map", () => {
  it("reads the server's little-endian arrays, and draws far and large labels first", () => {
    expect([...points.index]).toEqual([5, 70000, 9]);
    expect(points.labels.map((l) => l.text)).toEqual(["many", "few", "small"]);
  });

  it("finds the nearest points within reach, at the rims too", () => {
    const finder = new Finder(points);
    expect(finder.near(0.5, 0.5, 0.01)).toEqual([1]);
    expect(finder.near(1, 1, 0.01)).toEqual([2]);
    expect(finder.near(0.2, 0.2, 0.01)).toEqual([]);
    expect(finder.near(0.4, 0.4, 2, 9)).toEqual([1, 0, 2]);
  });

  it("zooms about the pointer, and not without end", () => {
    const view = fit(400, 300);
    const pointer = { x: 150, y: 100 };
    const nearer = zoom(view, 2, pointer, 300);
    const before = (pointer.x - view.x) / view.scale;
    expect((pointer.x - nearer.x) / nearer.scale).toBeCloseTo(before);
    expect(zoom(view, 1e9, pointer, 300).scale).toBe(300 * NEAREST);
    expect(zoom(view, 1e-9, pointer, 300).scale).toBe(300 * FARTHEST);
    expect(onScreen(points, 0, view)).toEqual({ x: view.x, y: view.y });
  });
});
