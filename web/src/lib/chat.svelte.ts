// One conversation: its questions, its answers token by token, and its interventions.

import { keep } from "./api";
import { Asking } from "./asking.svelte";
import type { ChatAsk, Event, Intervention, Message, ReadToken } from "./types";
import { asChange, asIntervention, type Change, conflicts, inWords } from "./changes";
import { type Answered, answerAgain, asAnswered, type Exchange, newAnswer, spoken, whole } from "./exchange";
import { Inquiry } from "./inquiry.svelte";

export interface Saved {
  title: string;
  system: string;
  prefill: string;
  temperature: number;
  seed: number;
  most: number;
  top: number;
  exchanges: Exchange[];
  changes: Change[];
}

const MOST_UNDONE = 40;

/** A question of the chat: the fields that the page sets. */
type Question = Required<Omit<ChatAsk, "plain" | "top_p">>;

export class Conversation extends Asking {
  id = $state("");
  title = $state("");
  system = $state("");
  prefill = $state("");
  temperature = $state(0);
  seed = $state(0);
  most = $state(128);
  top = $state(8);
  control = $state(true);
  exchanges = $state<Exchange[]>([]);
  changes = $state<Change[]>([]);
  /** The prompt of an exchange as the model reads it. */
  prompt = $state.raw<{ exchange: number; tokens: ReadToken[] } | null>(null);
  readonly inquiry = new Inquiry(this);
  private past = $state.raw<Saved[]>([]);

  readonly conflicts = $derived(conflicts(this.changes));
  readonly undoable = $derived(this.past.length > 0 && !this.running);

  /** `kept`: whether the server stores it, so that it can be opened again and shared. */
  constructor(private readonly kept = true) {
    super();
  }

  load(body: unknown): void {
    const saved = body as Partial<Saved>;
    this.title = saved.title ?? "";
    this.system = saved.system ?? "";
    this.prefill = saved.prefill ?? "";
    this.temperature = saved.temperature ?? 0;
    this.seed = saved.seed ?? 0;
    this.most = saved.most ?? 128;
    this.top = saved.top ?? 8;
    this.exchanges = (saved.exchanges ?? []).map((e) => ({ ...e, answers: e.answers.map(asAnswered) }));
    this.changes = (saved.changes ?? []).map(asChange);
    this.prompt = null;
    this.inquiry.clear();
  }

  reset(): void {
    this.stop();
    this.load({});
    [this.id, this.problem, this.status, this.past] = ["", "", "", []];
  }

  get saved(): Saved {
    const { title, system, prefill, temperature, seed, most, top } = this;
    return {
      title,
      system,
      prefill,
      temperature,
      seed,
      most,
      top,
      exchanges: $state.snapshot(this.exchanges) as Exchange[],
      changes: $state.snapshot(this.changes) as Change[],
    };
  }

  /** Remember the present state, so that the next step can be undone. */
  remember(): void {
    this.past = [...this.past, this.saved].slice(-MOST_UNDONE);
  }

  undo(): void {
    const last = this.past.at(-1);
    if (!last || this.running) return;
    this.past = this.past.slice(0, -1);
    this.load(last);
    void this.store();
  }

  /** The question that led to exchange `upTo`, as the server takes it. */
  question(upTo: number, interventions: Intervention[], prefill = this.prefill): Question {
    const messages: Message[] = this.system ? [{ role: "system", text: this.system, pictures: [] }] : [];
    this.exchanges.slice(0, upTo + 1).forEach((exchange, i) => {
      messages.push({ role: "user", text: exchange.text, pictures: [...exchange.pictures] });
      if (i < upTo) messages.push({ role: "assistant", text: whole(spoken(exchange)), pictures: [] });
    });
    return {
      messages,
      prefill,
      interventions: $state.snapshot(interventions) as Intervention[],
      max_new_tokens: this.most,
      temperature: this.temperature,
      seed: this.seed,
      top: this.top,
    };
  }

  async send(text: string, pictures: string[]): Promise<void> {
    this.remember();
    this.exchanges.push({ text, pictures, answers: [] });
    await this.store(); // what was asked is kept even if the server dies while it answers
    await this.answer();
  }

  /** Add an answer to the last exchange; with interventions, also a random control. */
  async answer(undoable = true): Promise<void> {
    const exchange = this.exchanges.at(-1);
    if (!exchange || this.conflicts.length) return;
    const at = this.exchanges.length - 1;
    const active = this.changes.filter((c) => c.on);
    const under = active.map(asIntervention);
    if (undoable && exchange.answers.length) this.remember();
    this.inquiry.clear();
    if (under.length) await this.steer(exchange, under, active.map(inWords));
    else {
      exchange.answers.push(newAnswer("plain", this.prefill));
      const answer = exchange.answers.at(-1) as Answered;
      await this.ask("/api/chat", this.question(at, []), (event) => put(event, () => answer));
    }
    exchange.answers = exchange.answers.filter((a) => a.tokens.length);
    this.inquiry.resume();
    await this.store();
  }

  /** Answer once more; where answers are sampled, with the next seed. */
  async regenerate(): Promise<void> {
    const drawn = this.temperature > 0 && !this.changes.some((c) => c.on);
    if (!drawn || this.conflicts.length) return this.answer();
    this.remember();
    this.seed += 1;
    return this.answer(false);
  }

  /** Answer the last exchange with features changed, and with a control. Without an original answer,
   *  that one comes first. */
  private steer(exchange: Exchange, under: Intervention[], words: string[]): Promise<void> {
    const base = exchange.answers.findLast((a) => a.side === "plain" && a.tokens.length);
    const prefill = base?.prefill ?? this.prefill;
    const sides: Record<string, Answered | undefined> = { before: base };
    const side: Side = (name) => {
      sides[name] ??= answerAgain(exchange, name, prefill, under, words);
      return sides[name] as Answered;
    };
    const ask = {
      ...this.question(this.exchanges.length - 1, under, prefill),
      answer: base ? base.tokens.map((t) => t.id) : [],
      control: this.control,
      control_seed: 0,
    };
    return this.ask("/api/steer", ask, (event) => put(event, side));
  }

  /** The prompt as the model reads it, every token with its probability. */
  async readPrompt(at: number): Promise<void> {
    if (this.prompt?.exchange === at) {
      this.prompt = null;
      return;
    }
    await this.ask("/api/read", { ...this.question(at, []), answer: [] }, (event) => {
      if (event.kind === "read") this.prompt = { exchange: at, tokens: event.tokens };
    });
  }

  /** Change features and answer again at once, unless an answer is running. It ends a running
   *  explanation. */
  async change(found: Partial<Change> & { key: string }): Promise<void> {
    this.remember();
    const there = this.changes.find((c) => c.key === found.key);
    if (there) Object.assign(there, found, { on: true });
    else this.changes.push(asChange(found));
    if (this.exchanges.length && (!this.running || this.inquiry.busy)) await this.answer(false);
  }

  /** Change a card without answering again. */
  set(key: string, part: Partial<Change>): void {
    this.remember();
    const found = this.changes.find((c) => c.key === key);
    if (found) Object.assign(found, part);
  }

  remove(key: string): void {
    this.remember();
    this.changes = this.changes.filter((c) => c.key !== key);
  }

  /** Continue from here in a new conversation that shares the exchanges so far. */
  async branch(at: number): Promise<void> {
    this.stop();
    const kept = this.saved;
    this.load({ ...kept, title: `${this.named}, branched`, exchanges: kept.exchanges.slice(0, at + 1) });
    [this.id, this.past] = ["", []];
    await this.store();
  }

  get named(): string {
    return this.title || (this.exchanges[0]?.text.slice(0, 80) ?? "");
  }

  async store(): Promise<void> {
    if (!this.kept) return;
    try {
      this.id = (await keep(this.id, this.named, this.saved)).id;
      if (location.hash.startsWith("#/chat")) history.replaceState(history.state, "", `#/chat/${this.id}`);
    } catch (error) {
      this.fail(error);
    }
  }
}

/** Gives the answer of a side, and creates it when its first event comes. */
export type Side = (name: string) => Answered;

/** Put an event into the answer that it belongs to. */
export function put(event: Event, side: Side): void {
  if (event.kind === "token") side(event.side).tokens.push(event);
  else if (event.kind === "compared") side(event.side).distance = event;
  else if (event.kind === "answered")
    Object.assign(side(event.side), { stopped: event.stopped, seconds: event.seconds });
}
