import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { asChange } from "./changes";
import { Conversation } from "./chat.svelte";
import { textOf, spoken, whole } from "./exchange";
import { answering, event, finished, recorded, token } from "./testing";
import type { Event } from "./types";

beforeEach(() => vi.stubGlobal("location", { hash: "" }));
afterEach(() => vi.unstubAllGlobals());

const plain: Event[] = [
  event(recorded("chat"), "started"),
  token("answer", "a "),
  token("answer", "flag"),
  event(recorded("chat"), "answered", { text: "a flag", stopped: "eos" }),
  finished,
];
const compared = (side: "after" | "control", kl: number): Event =>
  event(recorded("steer"), "compared", { side, kl });
const steered: Event[] = [
  token("after", "a "),
  token("after", "sign"),
  compared("after", 0.4),
  token("control", "a flag"),
  compared("control", 0.01),
  finished,
];
const off = asChange({ key: "x", label: "flag", features: ["site/name/1"], how: "ablate" });

/** A conversation that the server does not keep, after one question. */
async function begun(...more: Event[][]): Promise<{ talk: Conversation; asked: unknown[] }> {
  const talk = new Conversation(false);
  const asked = answering(plain, ...more);
  await talk.send("What is it?", ["hash"]);
  return { talk, asked };
}

describe("Conversation", () => {
  it("asks with its pictures and keeps every token of the answer", async () => {
    const { talk, asked } = await begun();
    expect(asked[0]).toMatchObject({ messages: [{ role: "user", text: "What is it?", pictures: ["hash"] }] });
    const answer = talk.exchanges[0]?.answers[0];
    expect([textOf(answer), answer?.stopped, answer?.seconds]).toEqual(["a flag", "eos", 0.5]);
    expect([talk.running, talk.problem]).toEqual([false, ""]);
  });

  it("steers beside the answer that stands, which it sends along, and beside a control", async () => {
    const { talk, asked } = await begun(steered);
    await talk.change(off);
    expect(asked[1]).toMatchObject({ answer: [2, 4], control: true, interventions: [{ how: "ablate" }] });
    const answers = talk.exchanges[0]?.answers ?? [];
    expect(answers.map((a) => [a.side, textOf(a), a.distance?.kl])).toEqual([
      ["plain", "a flag", undefined],
      ["changed", "a sign", 0.4],
      ["control", "a flag", 0.01],
    ]);
    expect(answers[1]?.changes).toEqual(["flag off"]);
    expect(textOf(spoken(talk.exchanges[0]!))).toBe("a sign");
  });

  it("gives the plain answer first where there is none", async () => {
    const talk = new Conversation(false);
    answering([token("before", "yes"), ...steered]);
    talk.exchanges = [{ text: "?", pictures: [], answers: [] }];
    talk.changes = [off];
    await talk.answer(false);
    expect(talk.exchanges[0]?.answers.map((a) => a.side)).toEqual(["plain", "changed", "control"]);
  });

  it("takes the last step back, and the question goes on from what was really said", async () => {
    const { talk } = await begun(steered, plain);
    await talk.change(off);
    talk.undo();
    expect(talk.changes).toEqual([]);
    expect(talk.exchanges[0]?.answers).toHaveLength(1);
    await talk.send("And why?", []);
    expect(talk.question(1, []).messages.map((m) => m.text)).toEqual(["What is it?", "a flag", "And why?"]);
  });

  it("puts words into the answer's mouth and counts them in", async () => {
    const talk = new Conversation(false);
    talk.prefill = "It is ";
    answering(plain);
    await talk.send("?", []);
    expect(whole(talk.exchanges[0]?.answers[0])).toBe("It is a flag");
  });

  it("drops an answer of which nothing came, and says why", async () => {
    const talk = new Conversation(false);
    answering([event(recorded("try-failed"), "failed", { message: "Out of memory." })]);
    await talk.send("?", []);
    expect(talk.exchanges[0]?.answers).toEqual([]);
    expect(talk.problem).toBe("Out of memory.");
  });

  it("takes a whole recorded answer, its steered runs and what they differ in", async () => {
    const talk = new Conversation(false);
    answering(recorded("chat"), recorded("steer"));
    await talk.send("What is it?", ["hash"]);
    const before = textOf(talk.exchanges[0]?.answers[0]);
    expect(before).toBe(event(recorded("chat"), "answered").text);
    talk.changes = [off];
    talk.exchanges = [{ text: "What is it?", pictures: [], answers: [] }];
    await talk.answer(false);
    const answers = talk.exchanges[0]?.answers ?? [];
    expect(answers.map((a) => [a.side, a.tokens.length, a.stopped])).toEqual([
      ["plain", 3, "length"],
      ["changed", 3, "length"],
      ["control", 3, "length"],
    ]);
    expect(answers.map((a) => a.distance?.shifts.length)).toEqual([undefined, 3, 3]);
    expect([talk.running, talk.problem]).toEqual([false, ""]);
  });

  it("opens what an older page kept", () => {
    const talk = new Conversation(false);
    talk.load({
      exchanges: [{ text: "?", pictures: [], answers: [{ tokens: [], under: [{ features: [] }] }] }],
      changes: [{ id: "site/name/3", label: "old" }],
    });
    expect(talk.exchanges[0]?.answers[0]?.side).toBe("changed");
    expect(talk.changes[0]).toMatchObject({ key: "site/name/3", features: ["site/name/3"], how: "clamp" });
  });
});

describe("Inquiry", () => {
  const why = recorded("why");
  const reasons: Event[] = [
    event(why, "explained", { unexplained: 0.1 }),
    event(why, "clustered", { clusters: [], note: "None." }),
    finished,
  ];

  it("takes features, concepts, their effects and their names as the server sends them", async () => {
    const { talk } = await begun(why);
    await talk.inquiry.pick({ exchange: 0, answer: 0, token: 1 });
    const { reasons: found, clusters, effects, names } = talk.inquiry;
    expect(found?.list).toEqual(event(why, "explained").reasons);
    expect(clusters).toEqual(event(why, "clustered").clusters);
    const first = clusters?.[0]?.number ?? -1;
    expect(effects[first]).toMatchObject({ kind: "effect", note: "" });
    expect(names[first]?.author).toBe("lmm:fake");
    expect([talk.inquiry.busy, talk.inquiry.progress, talk.problem]).toEqual([false, "", ""]);
  });

  it("asks of the token that was clicked with the answer up to it", async () => {
    const { talk, asked } = await begun(reasons);
    await talk.inquiry.pick({ exchange: 0, answer: 0, token: 1 });
    expect(asked[1]).toMatchObject({ answer: [2, 4], position: null, mode: "attribution", clusters: true });
    expect([talk.inquiry.reasons?.unexplained, talk.inquiry.note, talk.inquiry.busy]).toEqual([
      0.1,
      "None.",
      false,
    ]);
  });

  it("forgets its reasons when something else is answered", async () => {
    const { talk } = await begun(reasons, steered);
    await talk.inquiry.pick({ exchange: 0, answer: 0, token: 1 });
    await talk.change(off);
    expect([talk.inquiry.picked, talk.inquiry.reasons, talk.inquiry.clusters]).toEqual([null, null, null]);
  });
});
