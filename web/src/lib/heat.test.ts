import { describe, expect, it } from "vitest";
import { ramp, share, tint, valueAt, veil } from "./heat";

const alpha = (css: string) => Number(/\/ ([\d.]+)\)/.exec(css)?.[1]);

describe("heat", () => {
  it("is a share of the maximum, within 0 and 1, and 0 where nothing ever fires", () => {
    expect([share(5, 10), share(20, 10), share(-1, 10), share(1, 0)]).toEqual([0.5, 1, 0, 0]);
  });

  it("grows lighter with strength, so that it can be read without colour", () => {
    const light = Array.from({ length: 21 }, (_, i) => ramp(i / 20)).map(
      ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b,
    );
    expect(light).toEqual([...light].sort((a, b) => a - b));
    expect(ramp(-1)).toEqual(ramp(0));
    expect(ramp(2)).toEqual(ramp(1));
  });

  it("veils what is silent and tints what fires", () => {
    expect(alpha(veil(1))).toBe(0);
    expect(alpha(tint(0))).toBe(0);
    expect(alpha(veil(0))).toBeGreaterThan(alpha(veil(0.5)));
    expect(alpha(tint(1))).toBeGreaterThan(alpha(tint(0.2)));
  });

  it("tells the strongest cell under a point, and nothing outside of the cells", () => {
    const picture = {
      media: "",
      width: 20,
      height: 10,
      rects: [
        [0, 0, 10, 10],
        [5, 0, 15, 10],
      ] as [number, number, number, number][],
      values: [1, 3],
    };
    expect(valueAt(picture, 2, 2)).toBe(1);
    expect(valueAt(picture, 7, 2)).toBe(3);
    expect(valueAt(picture, 17, 2)).toBeNull();
    expect(valueAt(picture, 15, 2)).toBeNull();
  });
});
