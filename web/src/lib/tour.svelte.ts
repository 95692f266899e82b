// A guided tour: the server plays it a step at a time; the page shows it as a conversation.

import { fromIntervention, inWords } from "./changes";
import { Conversation, put, type Side } from "./chat.svelte";
import { type Answered, answerAgain, newAnswer } from "./exchange";
import type { Event, Tour, TourState, TourStep } from "./types";

/** Lines that are a step's result; the others are shown by the conversation. */
const RESULTS = ["note", "change", "expect"];

export class TourTalk extends Conversation {
  /** The result of each step. */
  results = $state<string[]>([]);
  /** How many steps were played. */
  done = $state(0);
  busy = $state(false);
  /** The server's state after the last step. */
  private state: TourState | null = null;

  /** Play the next step. */
  async next(tour: Tour): Promise<void> {
    const step = tour.steps[this.done];
    if (!step || this.busy) return;
    this.busy = true;
    if (step.do === "ask") this.begin(step);
    if (step.do === "why") this.inquiry.mode = step.mode ?? "attribution";
    const lines: string[] = [];
    const side = this.sides();
    const ask = { name: tour.name, step: this.done, state: this.state };
    await this.ask("/api/tour", ask, (event) => {
      if (event.kind !== "tour") this.hear(event, step, side);
      else if (RESULTS.includes(event.line)) lines.push(event.text.replace(step.question ?? "", "").trim());
    });
    this.results[this.done] = lines.join(" ") || this.problem;
    this.done += 1;
    this.busy = false;
    await this.store();
  }

  /** A question begins a new conversation. */
  private begin(step: TourStep): void {
    this.reset();
    this.state = null;
    [this.system, this.prefill, this.most] = [step.system ?? "", step.prefill ?? "", step.tokens ?? 24];
    this.exchanges = [{ text: step.text ?? "", pictures: step.picture ? [step.picture] : [], answers: [] }];
  }

  /** The answers of one step by side. */
  private sides(): Side {
    const made: Record<string, Answered | undefined> = {};
    return (name) => {
      const exchange = this.exchanges[0];
      if (!exchange) return newAnswer("plain", "");
      if (name === "after") this.inquiry.clear();
      const side = name === "answer" ? "before" : name;
      made[name] ??= answerAgain(exchange, side, this.prefill, [], []);
      return made[name] as Answered;
    };
  }

  private hear(event: Event, step: TourStep, side: Side): void {
    if (event.kind !== "tour_state") {
      put(event, side);
      this.inquiry.hear(event);
      return;
    }
    this.state = event;
    this.changes = event.interventions.map(fromIntervention);
    if (step.do === "why" && !this.inquiry.reasons)
      this.inquiry.show({ exchange: 0, answer: 0, token: event.explained });
    const changed = this.exchanges[0]?.answers.at(-1)?.side === "plain" ? undefined : this.steered;
    if (changed && !changed.under.length)
      Object.assign(changed, { under: event.interventions, changes: this.changes.map(inWords) });
  }

  private get steered(): Answered | undefined {
    return this.exchanges[0]?.answers.findLast((a) => a.side === "changed");
  }
}
