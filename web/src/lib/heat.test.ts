import { describe, expect, it } from "vitest";
import golden from "./heat.golden.json";
import { cells, colour, share, valueAt } from "./heat";
import type { Picture } from "./types";

const picture = golden.picture as Picture;

describe("heat", () => {
  it("is a share of the maximum, within 0 and 1, and 0 where nothing ever fires", () => {
    expect([share(5, 10), share(20, 10), share(-1, 10), share(1, 0)]).toEqual([0.5, 1, 0, 0]);
  });

  it("is drawn as Python draws it: the strongest cell wins", () => {
    const { width, height } = golden;
    const drawn = Array.from({ length: height }, () => new Array<number>(width).fill(0));
    for (const cell of cells(picture, width, height))
      for (let y = cell.y; y < cell.y + cell.height; y++)
        (drawn[y] as number[]).fill(cell.value, cell.x, cell.x + cell.width);
    expect(drawn).toEqual(golden.heat);
  });

  it("has Python's colours", () => {
    const { values, top, colours } = golden.scale;
    expect(values.map((value) => colour(value, top))).toEqual(colours);
  });

  it("grows lighter with strength, so that it can be read without colour", () => {
    const light = Array.from({ length: 21 }, (_, i) => colour(i / 20, 1)).map(
      ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b,
    );
    expect(light).toEqual([...light].sort((a, b) => a - b));
  });

  it("tells the strongest cell under a point, and nothing outside of the cells", () => {
    const two = {
      media: "",
      width: 20,
      height: 10,
      rects: [
        [5, 0, 15, 10],
        [0, 0, 10, 10],
      ] as [number, number, number, number][],
      values: [3, 1],
    };
    expect(valueAt(two, 2, 2)).toBe(1);
    expect(valueAt(two, 7, 2)).toBe(3);
    expect(valueAt(two, 17, 2)).toBeNull();
    expect(valueAt(two, 15, 2)).toBeNull();
  });
});
