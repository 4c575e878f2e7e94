/** The plan in one sentence and two bars: where memory goes, and where a step's time goes. */
import { bytes, count, plain } from "../../charts/format";
import type { Plan, Row } from "./plan";

export function Answer({ plan }: { plan: Plan }) {
  const { plan: row, machine } = plan;
  return (
    <section class="plan-answer card" aria-labelledby="answer-title">
      <h2 id="answer-title" class="visually-hidden">The answer</h2>
      {row.tokens_per_s === null ? <p class="plan-sentence">{doesNotFit(plan)}</p> : <Fits plan={plan} row={row} />}
      <Bar title="Memory" parts={memoryParts(plan)} whole={machine.memory_bytes} text={bytes} />
      {row.batch !== null && (
        <Bar
          title="Time of a step, one token for each sequence"
          parts={timeParts(row)}
          whole={timeParts(row).reduce((sum, [, ms]) => sum + ms, 0)}
          text={(ms) => `${plain(ms)} ms`}
        />
      )}
    </section>
  );
}

/** What is neither weights nor keys and values is known only of a machine that was measured. */
function timeParts({ weights_ms, attention_ms, rest_ms }: Row): [string, number][] {
  const parts: [string, number][] = [["reading or multiplying weights", weights_ms!], ["keys and values", attention_ms!]];
  return rest_ms ? [...parts, ["all else", rest_ms]] : parts;
}

function Fits({ plan, row }: { plan: Plan; row: Row }) {
  const { batch, tokens_per_s: rate, single_tokens_per_s: alone, usd_per_million_tokens: cost } = row;
  return (
    <>
      <p class="plan-sentence">
        <b>{count(Math.round(rate!))}</b> tokens a second, for <b>{count(batch!)}</b> {batch === 1 ? "sequence" : "sequences"} of {count(plan.context)} tokens at once
        {cost !== null && <>; a million tokens cost <b>${plain(cost)}</b></>}.
      </p>
      <p class="hint">
        One sequence alone gets {plain(alone!)} a second. A prompt is read at {count(Math.round(row.prompt_tokens_per_s))} tokens a second.
        {cost !== null && " The cost is that of a machine that is always busy."}
      </p>
    </>
  );
}

function doesNotFit({ plan: { weights_bytes: weights, largest_batch: largest }, machine }: Plan): string {
  if (largest) return `No more than ${count(largest)} sequences fit at once.`;
  return `It does not fit: weights of ${bytes(weights)}, and not one sequence beside them, in ${bytes(machine.memory_bytes)}.`;
}

type Part = readonly [label: string, value: number];

function memoryParts({ plan: row }: Plan): Part[] {
  const held = (row.batch ?? 0) * row.kv_bytes_per_sequence;
  return [["weights", row.weights_bytes], ["keys and values", held]];
}

/** Parts of a whole, side by side; what is left over is free. */
function Bar({ title, parts, whole, text }: {
  title: string;
  parts: readonly Part[];
  whole: number;
  text: (value: number) => string;
}) {
  const all = Math.max(whole, parts.reduce((sum, [, value]) => sum + value, 0));
  return (
    <figure class="plan-bar">
      <figcaption>{title}, {text(whole)}</figcaption>
      <div class="plan-bar-parts" aria-hidden="true">
        {parts.map(([label, value], index) => <span key={label} data-part={index} style={{ inlineSize: `${(100 * value) / all}%` }} />)}
      </div>
      <ul>
        {parts.map(([label, value], index) => <li key={label}><i data-part={index} aria-hidden="true" />{label} <b>{text(value)}</b></li>)}
      </ul>
    </figure>
  );
}
