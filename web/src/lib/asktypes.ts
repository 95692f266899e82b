// The records of what is asked of the model and of what is kept, as docs/api.md tells them.

import type { Exemplar, FeatureRow, Gain, Intervention, Reason, Shift, Where } from "./types";

export interface Alternative {
  id: number;
  text: string;
  logprob: number;
}

export interface ReadToken {
  id: number;
  text: string;
  kind: string;
  role: string;
  logprob: number | null;
  entropy: number | null;
  top: Alternative[];
  image: number | null;
  rect: [number, number, number, number] | null;
}

export type WhyMode = "attribution" | "activation";

export interface Target {
  id: number;
  text: string;
  position: number;
  probability: number;
}

export interface ClusterFeature {
  id: string;
  label: string;
  description: string;
  score: number;
}

export interface Cluster {
  number: number;
  label: string;
  coherence: number;
  surprise: number | null;
  score: number;
  features: ClusterFeature[];
  suppress: Intervention;
}

/** What an LMM calls a concept; text from outside, shown as text. */
export interface Named {
  cluster: number;
  label: string;
  coherence: number | null;
  author: string;
  note: string;
}

export interface Effect {
  cluster: number;
  before: number | null;
  after: number | null;
  effect: number | null;
  note: string;
}

/** How far a changed run lies from the unchanged one, on the unchanged answer's tokens. */
export interface Distance {
  side: string;
  changed: boolean;
  kl: number;
  logprob_shift: number;
  shifts: Shift[];
  share: number | null;
  notes: string[];
}

export interface VersusSide {
  dictionary: string;
  l0: number | null;
  fvu: number | null;
  unexplained: number | null;
  reasons: Reason[];
  model: string;
  value: number;
  target: Target;
  clusters: Cluster[];
  note: string;
}

export interface Versus {
  value: number;
  sides: VersusSide[];
  pairs: { one: string; other: string; together: number }[];
}

export interface Tried {
  feature: string;
  peak: number;
  share: number | null;
  exemplar: Exemplar;
}

export interface AlikeRow {
  row: FeatureRow;
  score: number;
  wanted: number;
  unwanted: number;
}

export interface Tested {
  effect: number;
  low: number | null;
  high: number | null;
  control: number | null;
  strength: number;
  probes: number;
  when: string;
}

export interface Concept {
  query: string;
  rows: FeatureRow[];
  share: number | null;
  suppress: Intervention | null;
  strengthen: Intervention | null;
  note: string;
}

export interface RegisterEntry {
  row: FeatureRow;
  seed: string;
  tested: Tested | null;
}

export interface RegisterConcept {
  name: string;
  title: string;
  about: string;
  caution: string;
  seeds: string[];
  features: RegisterEntry[];
  note: string;
}

export interface Register {
  caution: string;
  concepts: RegisterConcept[];
}

export interface MapData {
  dictionary: string;
  count: number;
  index: string;
  x: string;
  y: string;
  category: string;
  size: string;
  categories: string[];
  labels: MapLabel[];
  note: string;
}

export interface MapLabel {
  text: string;
  x: number;
  y: number;
  level: number;
  count: number;
}

export interface Note {
  id: number;
  feature: string;
  author: string;
  text: string;
  created: string;
}

export interface ListLine {
  name: string;
  size: number;
}

export interface RatingItem {
  task: string | null;
  description: string;
  exemplars: Exemplar[];
  grades: { grade: number; meaning: string }[];
  done: number;
  total: number;
}

export interface RatingTold {
  feature: string;
  label: string;
  description: string;
  author: string;
  swapped: boolean;
  done: number;
  total: number;
}

export interface TourLine {
  name: string;
  title: string;
  about: string;
  needs_picture: boolean;
  steps: number;
}

export interface TourStep {
  do: "say" | "ask" | "why" | "suppress" | "strengthen" | "switch_off" | "undo" | "expect";
  text?: string;
  picture?: string | null;
  prefill?: string;
  system?: string;
  tokens?: number;
  note?: string;
  token?: string;
  mode?: WhyMode;
  words?: string;
  k?: number;
  strength?: number;
  pictured?: boolean;
  at?: "all" | "image" | "user";
  question?: string;
  measure?: "changed" | "kl" | "contains" | "probability" | "clusters";
}

export interface Tour {
  name: string;
  title: string;
  about: string;
  needs_picture: boolean;
  steps: TourStep[];
}

export interface WhyMore {
  answer: number[];
  position: number | null;
  mode: WhyMode;
  at: Where;
  against: number | null;
  limit: number;
  clusters: boolean;
  similarity: number;
  smallest: number;
  effects: number;
}

export type { Gain };
