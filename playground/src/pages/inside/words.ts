/** Tokens and numbers in words. */
import type { Token } from "./inspection";

/** A token as it is shown: spaces and line feeds can be seen. */
export function shown({ text, id }: Token): string {
  if (!text) return `#${id}`;
  return text.replaceAll("\n", "⏎").replace(/^ /, "·").replace(/^ +$/, (spaces) => "·".repeat(spaces.length));
}

/** A token in a sentence. */
export function quoted(token: Token): string {
  return `“${shown(token)}”`;
}

export function percent(probability: number): string {
  if (probability > 0 && probability < 0.01) return "< 1 %";
  return `${Math.round(probability * 100)} %`;
}

/** A share of attention: 0.23, and more digits where it is small. */
export function share(value: number): string {
  if (value > 0 && value < 0.001) return "< 0.001";
  return value.toFixed(value < 0.1 ? 3 : 2);
}

/** MHA, GQA or MQA. */
export function kind(nHeads: number, nKvHeads: number): string {
  if (nKvHeads === nHeads) return "MHA";
  return nKvHeads === 1 ? "MQA" : "GQA";
}

export function plural(n: number, word: string): string {
  return `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
}
