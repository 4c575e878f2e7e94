/** What `GET …/ai/plan` tells, asked anew when a slider moves. */
import { useEffect, useState } from "preact/hooks";
import { accountPath, getResult } from "../../api";

/** Values of the controls as they stand in the address; absent ones are the server's choice. */
export type Query = Readonly<Record<string, string>>;

export interface Machine {
  readonly id: string;
  readonly name: string;
  readonly memory_bytes: number;
  readonly read_bytes_per_s: number;
  readonly operations_per_s: Readonly<Record<string, number>>;
  readonly share: number;
  readonly usd_per_hour: number | null;
}

export interface Choices {
  readonly models: readonly string[];
  readonly machines: readonly Machine[];
  readonly weights: readonly string[];
  readonly kv_formats: readonly string[];
}

export interface Shape {
  readonly n_layers: number;
  readonly n_heads: number;
  readonly n_kv_heads: number;
  readonly head_dim: number;
  readonly n_parameters: number;
  readonly window: number | null;
  readonly max_seq_len: number;
}

/** Null: it does not fit, or nobody named a price. */
export interface Row {
  readonly attention: string;
  readonly is_this_model: boolean;
  readonly kv_heads: number;
  readonly weights_bytes: number;
  readonly kv_bytes_per_token: number;
  readonly kv_bytes_per_sequence: number;
  readonly largest_batch: number;
  readonly single_tokens_per_s: number | null;
  readonly batch: number | null;
  readonly tokens_per_s: number | null;
  readonly weights_ms: number | null;
  readonly attention_ms: number | null;
  readonly rest_ms: number | null;
  readonly prompt_tokens_per_s: number;
  readonly usd_per_million_tokens: number | null;
}

export interface BatchPoint {
  readonly batch: number;
  readonly tokens_per_s: number | null;
}

export interface ContextPoint {
  readonly context: number;
  readonly kv_bytes_per_sequence: number;
  readonly largest_batch: number;
  readonly tokens_per_s: number | null;
}

export interface Plan {
  readonly model: string;
  readonly shape: Shape;
  readonly machine: Machine;
  readonly weights: string;
  readonly kv_format: string;
  readonly context: number;
  readonly plan: Row;
  readonly compared: readonly Row[];
  readonly by_batch: Readonly<Record<string, readonly BatchPoint[]>>;
  readonly by_context: Readonly<Record<string, readonly ContextPoint[]>>;
}

/** The last answer stays until the next one is there, so that nothing jumps. */
export function useAnswer<T>(path: string): { answer: T | null; fault: Error | null } {
  const [answer, setAnswer] = useState<T | null>(null);
  const [fault, setFault] = useState<Error | null>(null);
  useEffect(() => {
    let isCurrent = true;
    getResult<T>(accountPath(path)).then(
      (found) => isCurrent && (setAnswer(found), setFault(null)),
      (error) => isCurrent && setFault(error),
    );
    return () => {
      isCurrent = false;
    };
  }, [path]);
  return { answer, fault };
}

export function usePlan(query: Query) {
  return useAnswer<Plan>(`ai/plan?${new URLSearchParams(query)}`);
}
