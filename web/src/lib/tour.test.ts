import { afterEach, describe, expect, it, vi } from "vitest";
import { asChange } from "./changes";
import { Conversation } from "./chat.svelte";
import { newAnswer } from "./exchange";
import { answering, token } from "./testing";
import { measured, nearest, place } from "./tour";
import type { Cluster, TourStep } from "./types";

afterEach(() => vi.unstubAllGlobals());
const look = { token: 0, clusters: [] };
const cluster = (label: string): Cluster => ({
  number: 0,
  label,
  coherence: 5,
  surprise: null,
  score: 1,
  features: [],
  suppress: { features: [] },
});

/** A conversation with a plain answer, and a steered one where `changed` is given. */
function talked(plain: string, changed?: string): Conversation {
  const talk = new Conversation(false);
  const answers = [{ ...newAnswer("plain", ""), tokens: [token("answer", plain)] }];
  if (changed !== undefined) {
    answers.push({ ...newAnswer("changed", ""), tokens: [token("after", changed)] });
    talk.changes = [asChange({ key: "x" })];
  }
  talk.exchanges = [{ text: "?", pictures: [], answers }];
  return talk;
}

describe("tours", () => {
  it("take the token that holds the words, or the first that says something", () => {
    const tokens = [
      { ...token("answer", " the"), tells: false },
      token("answer", " Bolivia"),
      token("answer", "."),
    ];
    expect([place(tokens, "bolivia"), place(tokens, "Peru"), place([], "x")]).toEqual([1, 1, 0]);
  });

  it("measure only what was changed", async () => {
    const step: TourStep = { do: "expect", measure: "changed" };
    expect(await measured(step, talked("yes"), look)).toContain("no intervention");
    expect(await measured(step, talked("yes", "no"), look)).toBe("Yes: “yes” became “no”.");
    expect(await measured(step, talked("yes", "yes"), look)).toContain("same answer");
    const kl: TourStep = { do: "expect", measure: "kl" };
    expect(await measured(kl, talked("yes", "no"), look)).toContain("could not be measured");
    const holds: TourStep = { do: "expect", measure: "contains", text: "NO" };
    expect(await measured(holds, talked("yes", "no"), look)).toMatch(/^Yes/);
  });

  it("take the nearest concept, and say whether it is near enough", async () => {
    answering(Response.json({ cosines: [0.1, 0.4], near: 0.5 }));
    const found = await nearest("flags", [cluster("cats"), cluster("banners")]);
    expect([found?.cluster.label, found?.meant]).toEqual(["banners", false]);
    expect(await nearest("flags", [])).toBeNull();
  });
});
