import { describe, expect, it } from "vitest";
import { density, percent, short, signed, two, visible } from "./words";

describe("numbers", () => {
  it("keeps two figures after the point and the sign", () => {
    expect([two(0.5), two(-0.031), two(1.25), two(2)]).toEqual([".50", "−.03", "1.25", "2.00"]);
  });

  it("is short at every size", () => {
    expect([0, 0.0123, 1.26, 123.4, 12345].map(short)).toEqual(["0", "0.012", "1.3", "123", "12,345"]);
    expect([signed(0.5), signed(-0.5)]).toEqual(["+0.50", "−0.50"]);
  });

  it("keeps small probabilities apart from nothing", () => {
    const found = [1, 0.9996, 0.9994, 0.996, 0.994, 0.5, 0.012, 0.0004, 0].map(percent);
    expect(found.slice(0, 4)).toEqual(["100 %", "100 %", "99.9 %", "99.6 %"]);
    expect(found.slice(4)).toEqual(["99 %", "50 %", "1.2 %", "0.04 %", "0 %"]);
  });

  it("says how rarely a feature fires", () => {
    expect([null, 0, 0.9, 0.1, 0.00123].map(density)).toEqual([
      "–",
      "never active",
      "always active",
      "1 in 10 tokens",
      "1 in 810 tokens",
    ]);
  });
});

describe("tokens", () => {
  it("shows white space, and that there is nothing", () => {
    expect([" the", "a\n\tb", ""].map(visible)).toEqual(["␣the", "a⏎⇥b", "∅"]);
  });
});
