/** The system prompt and the sampling fields. What is not set is not sent: the server decides. */
import { useId } from "preact/hooks";
import type { Params } from "../../conversations/conversation";
import { changeSettings, settings } from "../../conversations/store";
import { models } from "../../models";
import { Slider } from "../../ui/slider";
import { StopField } from "./stop-field";

type NumberName = Exclude<keyof Params, "stop">;

interface Field {
  readonly name: NumberName;
  readonly label: string;
  readonly hint: string;
  readonly fallback: number | null;
  readonly min: number;
  readonly max: number;
  readonly step: number;
}

/** Ranges and defaults as in the API's description. */
const FIELDS: readonly Field[] = [
  { name: "temperature", label: "Temperature", hint: "0 takes the likeliest token, always; more is more varied.", fallback: 0.6, min: 0, max: 5, step: 0.05 },
  { name: "top_p", label: "Top p", hint: "Choose among the likeliest tokens that add up to this.", fallback: 1, min: 0.001, max: 1, step: 0.001 },
  { name: "top_k", label: "Top k", hint: "Choose among this many of the likeliest tokens.", fallback: null, min: 1, max: 50, step: 1 },
  { name: "repetition_penalty", label: "Repetition penalty", hint: "Above 1, what is there already gets less likely.", fallback: 1, min: 0.01, max: 2, step: 0.01 },
  { name: "frequency_penalty", label: "Frequency penalty", hint: "Taken off a token for each time it was written.", fallback: 0, min: -2, max: 2, step: 0.05 },
  { name: "presence_penalty", label: "Presence penalty", hint: "Taken off once, if a token was written.", fallback: 0, min: -2, max: 2, step: 0.05 },
];
const DEFAULT_MAX_TOKENS = 256;
const MOST_TOKENS_SHOWN = 4096;
const MOST_SEED = 9_999_999_999;

export function SettingsPanel() {
  const id = useId();
  const { model, system, params } = settings.value;
  const window = models.value?.find((one) => one.id === model)?.contextWindow ?? MOST_TOKENS_SHOWN;
  const set = (change: Partial<Params>) => changeSettings({ params: without({ ...params, ...change }) });
  const setNumber = (name: NumberName) => (value: number | null) => set({ [name]: value ?? undefined } as Partial<Params>);
  const isDefault = Object.keys(params).length === 0;
  return (
    <div class="settings">
      <div>
        <label for={`${id}-system`}>System prompt</label>
        <textarea id={`${id}-system`} rows={3} value={system} placeholder="How the model should behave" onInput={({ currentTarget }) => changeSettings({ system: currentTarget.value })} />
      </div>
      <Slider label="Max tokens" hint="The answer is cut after so many." value={params.max_tokens ?? null} fallback={DEFAULT_MAX_TOKENS} min={1} max={Math.min(window, MOST_TOKENS_SHOWN)} step={1} onChange={setNumber("max_tokens")} />
      {FIELDS.map(({ name, ...field }) => <Slider key={name} {...field} value={params[name] ?? null} onChange={setNumber(name)} />)}
      <div>
        <label for={`${id}-seed`}>Seed</label>
        <input id={`${id}-seed`} type="number" min={1} max={MOST_SEED} step={1} value={params.seed ?? ""} placeholder="a fresh one each time" onChange={({ currentTarget: { valueAsNumber } }) => setNumber("seed")(inRange(valueAsNumber))} />
        <p class="hint">The same seed and settings give the same answer.</p>
      </div>
      <StopField value={params.stop ?? []} onChange={(stop) => set({ stop: stop.length ? stop : undefined } as Partial<Params>)} />
      <button type="button" class="button small" disabled={isDefault} onClick={() => changeSettings({ params: {} })}>Back to the defaults</button>
    </div>
  );
}

function inRange(value: number): number | null {
  return Number.isNaN(value) ? null : Math.min(MOST_SEED, Math.max(1, Math.round(value)));
}

/** Leaves out what is not given. */
function without(params: Params): Params {
  return Object.fromEntries(Object.entries(params).filter(([, value]) => value !== undefined));
}
