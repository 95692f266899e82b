// Why a token came, or what a region of the picture did: features, concepts and effects.

import { type Asking, progress } from "./asking.svelte";
import { PLACES } from "./changes";
import type { Exchange } from "./exchange";
import type {
  ChatAsk,
  Cluster,
  Effect,
  Event,
  Intervention,
  Named,
  Reason,
  Region,
  Target,
  WhyAsk,
  WhyMode,
} from "./types";

/** Concepts whose effect is measured. */
const EFFECTS = 8;

export interface Picked {
  exchange: number;
  /** Index of the answer; -1: a token of the prompt, or none. */
  answer: number;
  /** Index in the answer, or position in the prompt; -1: the next token. */
  token: number;
}

export interface Reasons {
  metric: string;
  value: number;
  target: Target | null;
  list: Reason[];
  tokens: string[];
  unexplained: number | null;
}

/** What an inquiry needs from its conversation. */
interface Talk extends Asking {
  exchanges: Exchange[];
  question(upTo: number, interventions: Intervention[], prefill?: string): ChatAsk;
}

export class Inquiry {
  picked = $state<Picked | null>(null);
  mode = $state<WhyMode>("attribution");
  region = $state<{ exchange: number; box: Region } | null>(null);
  against = $state<{ id: number; text: string } | null>(null);
  reasons = $state.raw<Reasons | null>(null);
  clusters = $state.raw<Cluster[] | null>(null);
  effects = $state<Record<number, Effect>>({});
  /** Names of concepts by an LMM, where the server has one. */
  names = $state<Record<number, Named>>({});
  /** Only features on the picture count. */
  pictured = $state(false);
  note = $state("");
  progress = $state("");
  busy = $state(false);

  private turn = 0;
  private waiting = false;

  constructor(private readonly talk: Talk) {}

  clear(): void {
    [this.picked, this.region, this.against, this.note, this.progress] = [null, null, null, "", ""];
    [this.waiting, this.busy, this.pictured] = [false, false, false];
    this.turn += 1; // what is still on its way is of no question any more
    this.empty();
  }

  private empty(): void {
    [this.reasons, this.clusters, this.effects, this.names] = [null, null, {}, {}];
  }

  pick(picked: Picked, pictured = false): Promise<void> {
    if (this.region?.exchange !== picked.exchange) this.region = null;
    [this.picked, this.against, this.pictured] = [picked, null, pictured];
    return this.run();
  }

  /** The answer is complete: ask what was asked while it was running. */
  resume(): void {
    if (this.waiting) void this.run();
  }

  /** Ask about a region of the picture: for the token picked, or the answer's first. */
  drag(exchange: number, box: Region | null): Promise<void> {
    [this.region, this.pictured] = [box ? { exchange, box } : null, false];
    if (this.picked?.exchange !== exchange) {
      const answered = this.talk.exchanges[exchange]?.answers.length ? 0 : -1;
      this.picked = { exchange, answer: answered, token: answered };
    }
    return this.run();
  }

  again(change: { mode?: WhyMode; against?: { id: number; text: string } | null }): Promise<void> {
    if (change.mode) this.mode = change.mode;
    if (change.against !== undefined) this.against = change.against;
    return this.picked ? this.run() : Promise.resolve();
  }

  private async run(): Promise<void> {
    const picked = this.picked;
    if (!picked) return;
    this.empty();
    [this.note, this.progress] = ["", ""];
    this.waiting = this.talk.running && !this.busy;
    if (this.waiting) return;
    const mine = ++this.turn;
    this.busy = true;
    await this.talk.ask(
      "/api/why",
      this.asked(picked),
      (event) => {
        if (mine === this.turn) this.hear(event);
      },
      "Computing attributions…",
    );
    if (mine === this.turn) this.busy = false;
  }

  private asked(picked: Picked): WhyAsk {
    const chosen = this.talk.exchanges[picked.exchange]?.answers[picked.answer];
    const region = this.region ? { region: { ...this.region.box } } : {};
    return {
      ...this.talk.question(picked.exchange, chosen?.under ?? [], chosen?.prefill),
      answer: chosen ? chosen.tokens.slice(0, picked.token + 1).map((t) => t.id) : [],
      position: picked.answer < 0 && picked.token >= 0 ? picked.token : null,
      mode: this.mode,
      at: (this.pictured && PLACES.image?.where) || region,
      against: this.mode === "attribution" ? (this.against?.id ?? null) : null,
      limit: 24,
      clusters: true,
      similarity: 0.4,
      smallest: 2,
      effects: EFFECTS,
    };
  }

  /** Show what a tour asks about a token; its events follow. */
  show(picked: Picked): void {
    this.clear();
    this.picked = picked;
  }

  hear(event: Event): void {
    if (event.kind === "explained") {
      const { metric, value, target, reasons: list, tokens, unexplained } = event;
      this.reasons = { metric, value, target, list, tokens, unexplained };
    } else if (event.kind === "progress") this.progress = progress(event) ?? "";
    else if (event.kind === "clustered")
      [this.clusters, this.note, this.progress] = [event.clusters, event.note, ""];
    else if (event.kind === "effect") this.effects[event.cluster] = event;
    else if (event.kind === "named") this.names[event.cluster] = event;
    if (event.kind === "clustered" || event.kind === "explained") this.talk.status = "";
    // Names from an LMM may take long; the model and the conversation are free meanwhile.
    const measured = Math.min(EFFECTS, this.clusters?.length ?? Infinity);
    if (Object.keys(this.effects).length >= measured) {
      this.busy = false;
      this.talk.free();
    }
  }
}
