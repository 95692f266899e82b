// Asking the model: one question at a time, with its place in the queue, its progress and its end.

import { sentence, stream } from "./api";
import type { Asks, Event } from "./types";

const SIDES: Partial<Record<string, string>> = {
  before: "Answering without interventions…",
  after: "Answering with interventions…",
  control: "Answering with the random control…",
};
const CUT = "The connection to the server was lost before the answer was complete. Ask again.";

/** The status line after an event; null where it does not change. */
export function progress(event: Event): string | null {
  if (event.kind === "queued")
    return event.ahead ? `Waiting: ${event.ahead} ahead of you` : "The model reads the prompt…";
  if (event.kind === "started") return SIDES[event.side] ?? "Answering…";
  if (event.kind === "progress") return `${event.note}: ${event.done} of ${event.total}`;
  return null;
}

export class Asking {
  running = $state(false);
  status = $state("");
  problem = $state("");
  private aborter: AbortController | null = null;

  /** Ask, and pass on each event as it comes. A new question stops the one before. */
  ask<Path extends keyof Asks>(
    path: Path,
    body: Asks[Path],
    hear: (event: Event) => void,
    status = "Waiting for the model…",
  ): Promise<void> {
    return this.work(status, async (signal) => {
      let last = "";
      for await (const event of stream(path, body, signal)) {
        last = event.kind;
        this.status = progress(event) ?? this.status;
        if (event.kind === "failed") this.problem = event.message;
        else hear(event);
      }
      if (last !== "finished" && last !== "failed") throw new Error(CUT);
    });
  }

  stop(): void {
    this.aborter?.abort();
    this.aborter = null;
    [this.running, this.status] = [false, ""];
  }

  /** The rest may take its time: new questions are possible, and end it. */
  free(): void {
    [this.running, this.status] = [false, ""];
  }

  private async work(status: string, job: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.stop();
    const mine = new AbortController();
    this.aborter = mine;
    [this.running, this.problem, this.status] = [true, "", status];
    try {
      await job(mine.signal);
    } catch (error) {
      if (this.aborter === mine) this.fail(error);
    }
    if (this.aborter === mine) this.free();
  }

  /** Show what went wrong; stopping a question is no error. */
  fail(error: unknown): void {
    this.problem = sentence(error) || this.problem;
  }
}
