/** What a longer context and a larger batch do to each kind of attention. */
import { LineChart, type Mark, type Point, type Series } from "../../charts/line-chart";
import { bytes, compact, count } from "../../charts/format";
import type { Plan } from "./plan";

const TOKENS = { label: "tokens of context", scale: "log", base: 2, format: count } as const;
const RATE = { label: "tokens/s", scale: "log", format: compact } as const;

export function Curves({ plan }: { plan: Plan }) {
  const marks: Mark[] = plan.shape.window === null ? [] : [{ x: plan.shape.window, label: "window" }];
  const isInRange = (mark: Mark) => mark.x > 128 && mark.x < plan.shape.max_seq_len;
  return (
    <section class="plan-curves" aria-labelledby="curves-title">
      <h2 id="curves-title">Longer texts, more callers</h2>
      <LineChart title="Tokens a second by context, memory full" series={series(plan.by_context, (p) => [p.context, p.tokens_per_s])} x={TOKENS} y={RATE} marks={marks.filter(isInRange)} />
      <LineChart title={`Tokens a second by sequences at once, ${count(plan.context)} tokens each`} series={series(plan.by_batch, (p) => [p.batch, p.tokens_per_s])} x={{ label: "sequences at once", scale: "log", format: compact }} y={RATE} />
      <LineChart title="What a sequence keeps, by context" series={series(plan.by_context, (p) => [p.context, p.kv_bytes_per_sequence])} x={TOKENS} y={{ label: "bytes", scale: "log", base: 2, format: bytes }} marks={marks.filter(isInRange)} />
    </section>
  );
}

/** A curve for each kind of attention that fits somewhere. */
function series<T>(curves: Readonly<Record<string, readonly T[]>>, point: (found: T) => Point): Series[] {
  return Object.entries(curves)
    .map(([label, found]) => ({ label, points: found.map(point) }))
    .filter(({ points }) => points.some(([, value]) => value !== null));
}
