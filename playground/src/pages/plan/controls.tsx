/** What is planned, where, and how it is used. */
import { RotateCcw } from "lucide";
import { useId } from "preact/hooks";
import { bytes, count, plain } from "../../charts/format";
import { IconButton } from "../../ui/button";
import type { Choices, Machine, Plan, Query } from "./plan";

interface ControlsProps {
  query: Query;
  choices: Choices;
  plan: Plan;
  onChange: (values: Query) => void;
}

export function Controls({ query, choices, plan, onChange }: ControlsProps) {
  const { shape, machine } = plan;
  // What was said of one model or machine is not meant for another.
  const other = { n_kv_heads: "", window: "", context: "", batch: "" };
  return (
    <form class="plan-controls card" aria-label="What to plan" onSubmit={(event) => event.preventDefault()}>
      <Choice label="Model" value={plan.model} options={choices.models} onChange={(model) => onChange({ ...other, model })} hint={`${plain(shape.n_parameters / 1e9)} billion weights, ${shape.n_layers} layers, ${shape.n_heads} query heads`} />
      <Choice label="Machine" value={machine.id} options={choices.machines.map(({ id, name }) => [id, name] as const)} onChange={(on) => onChange({ on, weights: "", batch: "", usd_per_hour: "" })} hint={inWords(machine)} />
      <div class="plan-pair">
        <Choice label="Weights" value={plan.weights} options={choices.weights.filter((name) => name in machine.operations_per_s)} onChange={(weights) => onChange({ weights, batch: "" })} />
        <Choice label="Keys and values" value={plan.kv_format} options={choices.kv_formats} onChange={(kv_format) => onChange({ kv_format, batch: "" })} />
      </div>
      <Steps label="KV heads" values={divisors(shape.n_heads)} value={shape.n_kv_heads} text={(n) => `${n}`} isGiven={"n_kv_heads" in query} onChange={(n) => onChange({ n_kv_heads: n === null ? "" : String(n), batch: "" })} hint={grouping(shape.n_heads, shape.n_kv_heads)} />
      <Steps label="Context" values={doubled(128, shape.max_seq_len)} value={plan.context} text={(n) => `${count(n)} tokens`} isGiven={"context" in query} onChange={(n) => onChange({ context: n === null ? "" : String(n), batch: "" })} hint="Prompt and answer together, of each sequence." />
      <Steps label="Window" values={[...doubled(256, shape.max_seq_len), Infinity]} value={shape.window ?? Infinity} text={(n) => (n === Infinity ? "none" : `${count(n)} tokens`)} isGiven={"window" in query} onChange={(n) => onChange({ window: n === null ? "" : n === Infinity ? "none" : String(n), batch: "" })} hint="A token sees no more than this many; keys and values behind it are given back." />
      <Steps label="Sequences at once" values={batches(plan)} value={plan.plan.batch ?? 0} text={(n) => (n ? count(n) : "none fits")} isGiven={"batch" in query} onChange={(n) => onChange({ batch: n === null ? "" : String(n) })} hint={`As many as fit, unless you say fewer: ${count(plan.plan.largest_batch)}.`} />
      <Price machine={machine} isGiven={"usd_per_hour" in query} onChange={(usd_per_hour) => onChange({ usd_per_hour })} />
    </form>
  );
}

function Choice({ label, value, options, onChange, hint }: {
  label: string;
  value: string;
  options: readonly (string | readonly [id: string, name: string])[];
  onChange: (value: string) => void;
  hint?: string;
}) {
  const id = useId();
  return (
    <div class="plan-choice">
      <label for={id}>{label}</label>
      <select id={id} value={value} aria-describedby={hint && `${id}-hint`} onChange={({ currentTarget }) => onChange(currentTarget.value)}>
        {options.map((option) => {
          const [name, text] = typeof option === "string" ? [option, option] : option;
          return <option key={name} value={name}>{text}</option>;
        })}
      </select>
      {hint && <p id={`${id}-hint`} class="hint">{hint}</p>}
    </div>
  );
}

/** A slider over the few values that make sense; a value between them stands at its neighbour. */
function Steps({ label, values, value, text, isGiven, onChange, hint }: {
  label: string;
  values: readonly number[];
  value: number;
  text: (value: number) => string;
  isGiven: boolean;
  onChange: (value: number | null) => void;
  hint: string;
}) {
  const id = useId();
  const last = values.length - 1;
  const place = values.findIndex((step) => step >= value);
  return (
    <div class="plan-choice slider">
      <div class="slider-head">
        <label for={id}>{label}</label>
        {isGiven && <IconButton icon={RotateCcw} size={13} label={`${label}: back to the default`} onClick={() => onChange(null)} />}
        <output for={id}>{text(value)}</output>
      </div>
      <input id={id} type="range" min={0} max={last} step={1} value={place < 0 ? last : place} disabled={last < 1} aria-valuetext={text(value)} aria-describedby={`${id}-hint`} onInput={({ currentTarget }) => onChange(values[currentTarget.valueAsNumber]!)} />
      <p id={`${id}-hint`} class="hint">{hint}</p>
    </div>
  );
}

function Price({ machine, isGiven, onChange }: {
  machine: Machine;
  isGiven: boolean;
  onChange: (value: string) => void;
}) {
  const id = useId();
  return (
    <div class="plan-choice">
      <div class="slider-head">
        <label for={id}>Price of an hour, in USD</label>
        {isGiven && <IconButton icon={RotateCcw} size={13} label="Price: back to the default" onClick={() => onChange("")} />}
      </div>
      <input id={id} type="number" min={0} max={1e6} step={0.01} value={machine.usd_per_hour ?? ""} placeholder="not known" onChange={({ currentTarget }) => onChange(currentTarget.value)} />
    </div>
  );
}

function inWords({ memory_bytes: memory, read_bytes_per_s: reading, share }: Machine): string {
  const rate = `${bytes(memory)} of memory, read at ${count(reading / 1e9)} GB/s`;
  return share < 1 ? `${rate}, of which an engine gets ${Math.round(share * 100)} %` : rate;
}

function grouping(nHeads: number, nKvHeads: number): string {
  if (nKvHeads === nHeads) return "Multi-head attention: every query head has its own.";
  if (nKvHeads === 1) return "Multi-query attention: all query heads share one.";
  return `Grouped-query attention: ${nHeads / nKvHeads} query heads share one.`;
}

function divisors(n: number): number[] {
  return Array.from({ length: n }, (_, index) => index + 1).filter((divisor) => n % divisor === 0);
}

/** first, twice that, … up to last, which is among them. */
function doubled(first: number, last: number): number[] {
  const found: number[] = [];
  for (let n = first; n < last; n *= 2) found.push(n);
  return [...found, last];
}

function batches({ plan }: Plan): number[] {
  return plan.largest_batch ? doubled(1, plan.largest_batch) : [0];
}
