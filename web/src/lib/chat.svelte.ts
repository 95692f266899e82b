// One conversation: what was said, what was answered with every token, what was changed.

import { chat, keep, why } from "./api";
import type { ChatAsk, Intervention, Message, Reason, TokenEvent } from "./types";

export interface Change {
  id: string;
  label: string;
  how: Intervention["how"];
  strength: number;
  on: boolean;
}

/** One answer; `changes` names what was changed while it was given, `under` is the same as data. */
export interface Answered {
  tokens: TokenEvent[];
  changes: string[];
  under: Intervention[];
}

export interface Exchange {
  text: string;
  pictures: string[];
  answers: Answered[];
}

export interface Reasons {
  value: number;
  list: Reason[];
  tokens: string[];
  unexplained: number | null;
}

export interface Saved {
  system: string;
  prefill: string;
  temperature: number;
  seed: number;
  most: number;
  exchanges: Exchange[];
  changes: Change[];
}

const said = (answer: Answered | undefined) => answer?.tokens.map((t) => t.text).join("") ?? "";

export class Conversation {
  id = $state("");
  system = $state("");
  prefill = $state("");
  temperature = $state(0);
  seed = $state(0);
  most = $state(128);
  exchanges = $state<Exchange[]>([]);
  changes = $state<Change[]>([]);
  running = $state(false);
  status = $state("");
  problem = $state("");
  picked = $state<{ exchange: number; answer: number; token: number } | null>(null);
  reasons = $state.raw<Reasons | null>(null);
  private aborter: AbortController | null = null;

  load(body: unknown): void {
    const saved = body as Partial<Saved>;
    this.system = saved.system ?? "";
    this.prefill = saved.prefill ?? "";
    this.temperature = saved.temperature ?? 0;
    this.seed = saved.seed ?? 0;
    this.most = saved.most ?? 128;
    this.exchanges = saved.exchanges ?? [];
    this.changes = saved.changes ?? [];
  }

  reset(): void {
    this.stop();
    this.load({});
    [this.id, this.picked, this.reasons, this.problem, this.status] = ["", null, null, "", ""];
  }

  get saved(): Saved {
    const { system, prefill, temperature, seed, most } = this;
    return {
      system, prefill, temperature, seed, most,
      exchanges: $state.snapshot(this.exchanges) as Exchange[],
      changes: $state.snapshot(this.changes),
    };
  }

  /** The question that led to exchange `upTo`, as the server takes it. */
  ask(upTo: number, interventions: Intervention[]): ChatAsk {
    const messages: Message[] = this.system
      ? [{ role: "system", text: this.system, pictures: [] }]
      : [];
    this.exchanges.slice(0, upTo + 1).forEach((exchange, i) => {
      messages.push({ role: "user", text: exchange.text, pictures: [...exchange.pictures] });
      if (i < upTo)
        messages.push({ role: "assistant", text: this.prefill + said(exchange.answers.at(-1)), pictures: [] });
    });
    return {
      messages,
      prefill: this.prefill,
      interventions,
      max_new_tokens: this.most,
      temperature: this.temperature,
      seed: this.seed,
      top: 8,
    };
  }

  async send(text: string, pictures: string[]): Promise<void> {
    this.exchanges.push({ text, pictures, answers: [] });
    await this.store(); // what was asked is kept even if the server dies while it answers
    await this.answer();
  }

  /** Answer the last exchange, beside the answers that it has. */
  async answer(): Promise<void> {
    const at = this.exchanges.length - 1;
    const exchange = this.exchanges[at];
    if (!exchange) return;
    this.stop();
    const mine = new AbortController();
    this.aborter = mine;
    [this.running, this.problem, this.status, this.picked, this.reasons] = [true, "", "Waiting for the model…", null, null];
    const active = this.changes.filter((c) => c.on);
    const under = active.map(asIntervention);
    exchange.answers.push({ tokens: [], changes: active.map(inWords), under });
    const answer = exchange.answers.at(-1) as Answered;
    try {
      for await (const event of chat(this.ask(at, under), mine.signal)) {
        if (event.kind === "queued") this.status = event.ahead ? `${event.ahead} ahead of you` : "The model reads…";
        else if (event.kind === "token") [answer.tokens.push(event), (this.status = "")];
        else if (event.kind === "failed") this.problem = event.message;
      }
    } catch (error) {
      this.fail(error);
    }
    if (!answer.tokens.length) exchange.answers.pop();
    if (this.aborter === mine) [this.running, this.status] = [false, ""];
    await this.store();
  }

  async explain(exchange: number, answer: number, token: number): Promise<void> {
    const chosen = this.exchanges[exchange]?.answers[answer];
    if (!chosen || this.running) return;
    this.stop();
    const mine = new AbortController();
    this.aborter = mine;
    [this.picked, this.reasons, this.problem, this.status] = [{ exchange, answer, token }, null, "", "Looking for reasons…"];
    const ask = {
      ...this.ask(exchange, chosen.under),
      answer: chosen.tokens.slice(0, token + 1).map((t) => t.id),
      limit: 12,
    };
    try {
      for await (const event of why(ask, mine.signal)) {
        if (event.kind === "explained")
          this.reasons = { value: event.value, list: event.reasons, tokens: event.tokens, unexplained: event.unexplained };
        else if (event.kind === "failed") this.problem = event.message;
      }
    } catch (error) {
      this.fail(error);
    }
    if (this.aborter === mine) this.status = "";
  }

  change(id: string, label: string, how: Intervention["how"], strength: number): void {
    const found = this.changes.find((c) => c.id === id);
    if (found) Object.assign(found, { how, strength, on: true });
    else this.changes.push({ id, label, how, strength, on: true });
  }

  stop(): void {
    this.aborter?.abort();
    this.aborter = null;
    this.running = false;
  }

  private async store(): Promise<void> {
    try {
      const title = this.exchanges[0]?.text.slice(0, 80) ?? "";
      this.id = (await keep(this.id, title, this.saved)).id;
      history.replaceState(history.state, "", `#/chat/${this.id}`);
    } catch (error) {
      this.fail(error);
    }
  }

  private fail(error: unknown): void {
    if (error instanceof DOMException && error.name === "AbortError") return;
    this.problem = error instanceof Error ? error.message : String(error);
  }
}

function asIntervention(change: Change): Intervention {
  const cut = change.id.lastIndexOf("/");
  return {
    features: [[change.id.slice(0, cut), Number(change.id.slice(cut + 1))]],
    how: change.how,
    strength: change.how === "ablate" ? 1 : change.strength,
  };
}

export const inWords = (change: Change): string =>
  change.how === "ablate"
    ? `${change.label || change.id} off`
    : `${change.label || change.id} at ${change.strength} × max`;
