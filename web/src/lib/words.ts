// Numbers and names in readable form.

export const two = (value: number): string =>
  (value < 0 ? "−" : "") + Math.abs(value).toFixed(2).replace(/^0\./, ".");

export const short = (value: number): string => {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  if (size >= 100) return value.toFixed(0);
  if (size >= 1) return value.toFixed(1);
  return value.toPrecision(2);
};

export const percent = (p: number): string => {
  const value = 100 * p;
  if (value >= 99.95) return "100 %";
  if (value >= 10 && value < 99.5) return `${value.toFixed(0)} %`;
  if (value >= 0.1) return `${value.toFixed(1)} %`;
  return value > 0 ? `${value.toPrecision(1)} %` : "0 %";
};

export const density = (value: number | null): string => {
  if (value === null) return "–";
  if (value <= 0) return "never active";
  const every = 1 / value;
  if (every < 1.5) return "always active";
  const round = every < 20 ? Math.round(every) : Number(every.toPrecision(2));
  return `1 in ${round.toLocaleString("en")} tokens`;
};

export const visible = (token: string): string =>
  token.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replace(/^ /, "␣") || "∅";

/** The author of an explanation, in words. */
export const explainer = (author: string): string =>
  author === "vocabulary" ? "vocabulary matcher" : author.replace(/^lmm:/, "LMM ");

export const modalityName: Record<string, string> = {
  image: "images",
  text: "text",
  both: "images and text",
  none: "nothing",
};

/** With its sign, for attributions. */
export const signed = (value: number): string => `${value < 0 ? "−" : "+"}${short(Math.abs(value))}`;
