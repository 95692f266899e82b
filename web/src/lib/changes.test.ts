import { describe, expect, it } from "vitest";
import { asChange, asIntervention, conflicts, fromIntervention, inWords, pair } from "./changes";

const base = { key: "a", label: "flag", features: ["site/name/12"] };

describe("interventions", () => {
  it("names a feature by its dictionary, which holds slashes, and its number", () => {
    expect(pair("resid_post.12/wide/7")).toEqual(["resid_post.12/wide", 7]);
  });

  it("sends the dose in its unit, and none where there is no dose", () => {
    expect(asIntervention(asChange({ ...base, how: "clamp", strength: 2 }))).toEqual({
      features: [["site/name", 12]],
      how: "clamp",
      strength: 2,
      unit: "max",
      name: "flag at 2 × max",
    });
    expect(asIntervention(asChange({ ...base, how: "ablate", strength: 9 })).strength).toBe(1);
    expect(asIntervention(asChange({ ...base, how: "scale", strength: 3 }))).not.toHaveProperty("unit");
  });

  it.each(["clamp", "add", "scale", "ablate", "project"] as const)(
    "survives export and import: %s",
    (how) => {
      const sent = asIntervention(asChange({ ...base, how, strength: 2, at: "image" }));
      const back = fromIntervention(sent);
      expect(back).toMatchObject({ features: base.features, how, at: "exact", on: true });
      expect(asIntervention(back)).toMatchObject({ features: sent.features, how, where: sent.where });
      expect(back.label).toBe("flag");
    },
  );

  it("says what is done in words", () => {
    const many = { ...base, features: ["site/name/1", "site/name/2"] };
    expect(inWords(asChange({ ...many, how: "ablate" }))).toBe("flag (2 features) off");
  });
});

describe("conflicts", () => {
  const one = asChange({ ...base, how: "ablate" });

  it("are two changes of one feature at the same tokens", () => {
    expect(conflicts([one, asChange({ ...base, key: "b" })])).toHaveLength(1);
    expect(conflicts([one, asChange({ ...base, key: "b", features: ["site/name/13"] })])).toEqual([]);
    expect(conflicts([one, asChange({ ...base, key: "b", on: false })])).toEqual([]);
  });

  it("are none where the places share no token", () => {
    const at = (place: string) => asChange({ ...base, key: place, at: place });
    expect(conflicts([at("prompt"), at("answer")])).toEqual([]);
    expect(conflicts([at("image"), at("user")])).toEqual([]);
    expect(conflicts([at("image"), at("prompt")])).toHaveLength(1);
    const region = (image: number, left: number) =>
      asChange({
        ...base,
        key: `${image} ${left}`,
        where: { region: { image, left, top: 0, right: left + 10, bottom: 10 } },
      });
    expect(conflicts([region(0, 0), region(0, 10)])).toEqual([]);
    expect(conflicts([region(0, 0), region(1, 0)])).toEqual([]);
    expect(conflicts([region(0, 0), region(0, 5)])).toHaveLength(1);
  });
});
