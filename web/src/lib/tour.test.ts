import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { textOf } from "./exchange";
import { answering, event, finished, recorded, token } from "./testing";
import { TourTalk } from "./tour.svelte";
import type { Event, Tour, TourState } from "./types";

beforeEach(() => vi.stubGlobal("location", { hash: "" }));
afterEach(() => vi.unstubAllGlobals());

const tour: Tour = {
  name: "flags",
  title: "",
  about: "",
  needs_picture: false,
  steps: [
    { do: "ask", text: "What is it?", picture: "hash", tokens: 4 },
    { do: "suppress", words: "flag", k: 1 },
    { do: "expect", question: "Did it change?", measure: "changed" },
  ],
};
const steps = recorded<Event[][]>("tour");
const walked = recorded<Tour>("tours-name");
const first = steps[0] as Event[];
const state = (interventions: TourState["interventions"] = []): TourState => ({
  ...event(first, "tour_state", { explained: 0 }),
  interventions,
});
const line = (name: "change" | "expect", text: string): Event => event(first, "tour", { line: name, text });
const off = {
  features: [["site/name", 1]],
  how: "ablate",
  name: "flag off",
} as TourState["interventions"][0];

describe("tours", () => {
  it("are played by the server, with the state of the step before", async () => {
    const talk = new TourTalk(false);
    const asked = answering(
      [token("answer", "a flag"), state(), finished],
      [line("change", "flag off"), token("after", "a sign"), state([off]), finished],
      [line("expect", "Did it change? Yes."), state([off]), finished],
    );
    for (let n = 0; n < 3; n += 1) await talk.next(tour);
    expect(asked).toMatchObject([
      { name: "flags", step: 0, state: null },
      { step: 1, state: { kind: "tour_state", interventions: [] } },
      { step: 2, state: { interventions: [{ how: "ablate" }] } },
    ]);
    expect(talk.results).toEqual(["", "flag off", "Yes."]);
    const answers = talk.exchanges[0]?.answers ?? [];
    expect(answers.map((a) => [a.side, textOf(a)])).toEqual([
      ["plain", "a flag"],
      ["changed", "a sign"],
    ]);
    expect([answers[1]?.changes, talk.changes.length]).toEqual([["flag off"], 1]);
    expect([talk.done, talk.busy]).toEqual([3, false]);
  });

  it("show the token that is explained, and say what went wrong", async () => {
    const talk = new TourTalk(false);
    const why: Tour = { ...tour, steps: [tour.steps[0]!, { do: "why", token: "flag" }] };
    const failed = event(recorded("try-failed"), "failed", { message: "The model is away." });
    answering([token("answer", "a flag"), state(), finished], [{ ...state(), explained: 1 }, failed]);
    await talk.next(why);
    await talk.next(why);
    expect(talk.inquiry.picked).toEqual({ exchange: 0, answer: 0, token: 1 });
    expect(talk.results[1]).toBe("The model is away.");
  });

  it("are walked to their end as a real server plays them", async () => {
    const talk = new TourTalk(false);
    const asked = answering(...steps) as { step: number; state: TourState | null }[];
    for (const step of walked.steps) {
      await talk.next(walked);
      expect(talk.problem, step.do).toBe("");
      if (step.do === "why") {
        expect(talk.inquiry.reasons?.list.length).toBeGreaterThan(0);
        expect(talk.inquiry.clusters?.length).toBeGreaterThan(0);
      }
    }
    expect(asked.map((ask) => ask.step)).toEqual(walked.steps.map((_, n) => n));
    const measured = walked.steps.flatMap((step, n) => (step.do === "expect" ? [talk.results[n]] : []));
    expect(measured.every((result) => result && !result.includes("?"))).toBe(true);
    expect(talk.exchanges[0]?.answers.map((a) => a.side)).toEqual(["plain", "changed", "control"]);
    expect([talk.done, talk.busy]).toEqual([walked.steps.length, false]);
  });
});
