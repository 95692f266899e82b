// The records of the HTTP interface, by the page's names. Their fields come from schema.d.ts, which
// `npm run types` makes of the server's own schema; this file adds only what the schema leaves open.

import type { components, paths } from "./schema";

type Records = components["schemas"];

/** An event of a running question; `kind` tells which. */
export type Event =
  | Exclude<Records["Event"], { kind: "clustered" | "versus" }>
  | (Omit<Records["Clustered"], "clusters"> & { clusters: Cluster[] })
  | Versus;
export type TokenEvent = Records["Token"];
export type Alternative = Records["Alternative"];
export type ReadToken = Records["ReadRecord"];
export type Distance = Records["Compared"];
export type Shift = Records["ShiftRecord"];
export type Reason = Records["Reason"];
export type Target = Records["Target"];
export type Effect = Records["EffectRecord"];
export type Named = Records["NamedRecord"];
export type Tried = Records["Tried"];
export type AlikeRow = Records["AlikeRow"];
export type Cluster = Omit<Records["ClusterRecord"], "suppress"> & { suppress: Intervention };
export type VersusSide = Omit<Records["VersusSide"], "clusters"> & { clusters: Cluster[] };
export type Versus = Omit<Records["VersusFound"], "sides"> & { sides: VersusSide[] };

export type Score = Records["ScoreRecord"];
export type ScoreKind = Records["ScoreKindRecord"];
export type Picture = Records["PictureRecord"];
export type TextToken = Records["TokenRecord"];
export type Exemplar = Records["ExemplarRecord"];
export type FeatureRow = Records["FeatureRow"];
export type FeatureList = Records["FeatureList"];
export type FeaturePage = Records["FeaturePage"];
export type Branch = Records["BranchRecord"];
export type Splitting = Records["SplittingRecord"];
export type SubjectInfo = Records["SubjectInfo"];
export type Upload = Records["Upload"];
export type Note = Records["NoteRecord"];
export type ListLine = Records["ListRecord"];
export type Concept = Records["ConceptRecord"];
export type MapData = Records["MapRecord"];
export type MapLabel = Records["MapLabel"];
export type Register = Records["RegisterRecord"];
export type Tested = Records["TestedRecord"];
export type RatingItem = Records["RatingTask"];
export type RatingReveal = Records["RatingReveal"];
export type Agreement = Records["AgreementRecord"];
export type Kept = Records["SessionLine"];
export type KeptWhole = Records["SessionRecord"];
export type TourLine = Records["TourLine"];
export type TourState = Records["TourState"];
export type Tour = Omit<Records["TourRecord"], "steps"> & { steps: TourStep[] };

export type Region = Records["Region"];
export type Where = Records["Where"];
export type Intervention = Records["Intervention"];
export type Unit = NonNullable<Intervention["unit"]>;
export type How = NonNullable<Intervention["how"]>;
export type Message = Records["Message"];
export type ChatAsk = Records["ChatAsk"];
export type WhyAsk = Records["WhyAsk"];
export type WhyMode = NonNullable<WhyAsk["mode"]>;

/** The body of a route that answers with a stream of events; never of another route. */
type Question<Route> = Route extends {
  post: {
    requestBody: { content: { "application/json": infer Body } };
    responses: { 200: { content: { "text/event-stream": string } } };
  };
}
  ? Body
  : never;
type Questions = {
  [
    Path in keyof paths as Path extends `/api/${string}`
      ? Question<paths[Path]> extends never
        ? never
        : Path
      : never
  ]: Question<paths[Path]>;
};

/** Questions with a stream of events, by route. */
export type Asks = Omit<Questions, "/api/tour"> & {
  "/api/tour": Omit<Records["TourAsk"], "state"> & { state: TourState | null };
};

/** One step of a tour; the schema says only that it is an object. */
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
