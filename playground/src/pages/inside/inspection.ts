/** What the engine tells of its work on a text, asked for one layer at a time. */
import { accountPath, post } from "../../api";
import type { Subject } from "./subject";

export interface Shape {
  readonly id: string;
  readonly n_layers: number;
  readonly n_heads: number;
  readonly n_kv_heads: number;
  readonly group_size: number;
  readonly head_dim: number;
  /** Tokens that a token sees, itself included; null: all before it. */
  readonly window: number | null;
  readonly vocab_size: number;
  readonly max_seq_len: number;
  readonly block_size: number;
  readonly weights: string;
  readonly kv_format: string;
  readonly kv_bytes_per_token: number;
  readonly groupings: readonly Grouping[];
}

export interface Grouping {
  readonly n_kv_heads: number;
  readonly kv_bytes_per_token: number;
}

export interface Token {
  readonly id: number;
  readonly text: string;
  readonly control?: boolean;
  readonly probability?: number;
  readonly alternatives?: readonly Token[];
}

/** Attention of one layer: [heads, tokens, tokens] of 0 … 1, row by row. */
export type Maps = Float32Array;

export interface Inspection {
  readonly model: Shape;
  readonly tokens: readonly Token[];
  /** What would come after the text. */
  readonly next: readonly Token[];
  /** By layer, as far as they were asked for. */
  readonly layers: ReadonlyMap<number, Maps>;
}

interface Answer extends Omit<Inspection, "layers"> {
  readonly attention: { readonly layers: readonly number[]; readonly data: string };
}

/** Looks at a text for the first time, or at one more layer of it. Throws ApiError. */
export async function inspect(
  { model, messages }: Subject,
  layer: number,
  known: Inspection | null,
  signal: AbortSignal,
): Promise<Inspection> {
  const body = { messages, layers: [layer], alternatives: known ? 0 : 5, encoding: "float16" };
  const response = await post(accountPath(`ai/inspect/${model}`), body, signal);
  const { result } = (await response.json()) as { result: Answer };
  const layers = new Map(known?.layers).set(layer, numbersOf(result.attention.data));
  return known ? { ...known, layers } : { ...result, layers };
}

/** How much token `query` looks at token `key`: 0 … 1. */
export function looked(maps: Maps, head: number, query: number, key: number, n: number): number {
  return maps[(head * n + query) * n + key]!;
}

/** Whether a token can see another at all. */
export function isVisible(query: number, key: number, window: number | null): boolean {
  return key <= query && (window === null || key > query - window);
}

/** Reads base64 of little-endian float16. */
function numbersOf(base64: string): Float32Array {
  const letters = atob(base64);
  const numbers = new Float32Array(letters.length / 2);
  for (let index = 0; index < numbers.length; index++) {
    numbers[index] = half(letters.charCodeAt(2 * index) | (letters.charCodeAt(2 * index + 1) << 8));
  }
  return numbers;
}

/** A float16 that is not negative and finite, as probabilities are. */
function half(bits: number): number {
  const [exponent, fraction] = [bits >> 10, bits & 1023];
  return exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
}
