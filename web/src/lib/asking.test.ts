import { afterEach, describe, expect, it, vi } from "vitest";
import { Asking, progress } from "./asking.svelte";
import { answering, event, finished, recorded } from "./testing";

afterEach(() => vi.unstubAllGlobals());
const TRY = { feature: "site/name/1", text: "x", picture: null };

describe("progress", () => {
  it("says who is ahead, which side is answered and how far it is", () => {
    expect(progress({ kind: "queued", ahead: 2 })).toBe("Waiting: 2 ahead of you");
    expect(progress({ kind: "queued", ahead: 0 })).toBe("The model reads the prompt…");
    expect(progress({ kind: "started", side: "control" })).toContain("random control");
    expect(progress({ kind: "started", side: "answer" })).toBe("Answering…");
    expect(progress({ kind: "progress", done: 1, total: 4, note: "naming" })).toBe("naming: 1 of 4");
    expect(progress(finished)).toBeNull();
  });
});

describe("Asking", () => {
  it("hands over what came and is idle again", async () => {
    const asking = new Asking();
    answering([{ kind: "queued", ahead: 0 }, finished]);
    const heard: string[] = [];
    const done = asking.ask("/api/try", TRY, (event) => heard.push(event.kind));
    expect([asking.running, asking.status]).toEqual([true, "Waiting for the model…"]);
    await done;
    expect(heard).toEqual(["queued", "finished"]);
    expect([asking.running, asking.status, asking.problem]).toEqual([false, "", ""]);
  });

  it("shows why it failed, and forgets that when the next question is asked", async () => {
    const asking = new Asking();
    const failed = event(recorded("try-failed"), "failed", { message: "The picture is too large." });
    answering([failed], [finished]);
    await asking.ask("/api/try", TRY, () => undefined);
    expect(asking.problem).toBe("The picture is too large.");
    await asking.ask("/api/try", TRY, () => undefined);
    expect(asking.problem).toBe("");
  });

  it("shows the server's own sentence where it refuses", async () => {
    const asking = new Asking();
    answering(Response.json({ error: { message: "Say something." } }, { status: 422 }));
    await asking.ask("/api/try", TRY, () => undefined);
    expect(asking.problem).toBe("Say something.");
  });

  it("does not take a broken connection for a complete answer", async () => {
    const asking = new Asking();
    answering([{ kind: "queued", ahead: 0 }], new TypeError("network"));
    await asking.ask("/api/try", TRY, () => undefined);
    expect(asking.problem).toContain("lost before the answer was complete");
    await asking.ask("/api/try", TRY, () => undefined);
    expect(asking.problem).toContain("does not answer");
  });

  it("stops the question before when a new one is asked, and says nothing of it", async () => {
    const asking = new Asking();
    const signals: AbortSignal[] = [];
    vi.stubGlobal("fetch", (_: string, init: RequestInit) => {
      const signal = init.signal as AbortSignal;
      signals.push(signal);
      return new Promise((_resolve, reject) =>
        signal.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError"))),
      );
    });
    const first = asking.ask("/api/try", TRY, () => undefined);
    const second = asking.ask("/api/try", TRY, () => undefined, "Second…");
    await first;
    expect(signals.map((s) => s.aborted)).toEqual([true, false]);
    expect([asking.running, asking.status, asking.problem]).toEqual([true, "Second…", ""]);
    asking.stop();
    await second;
    expect([asking.running, asking.status, asking.problem]).toEqual([false, "", ""]);
  });
});
