/** A number with a slider beside it; empty is a value of its own: the server's default. */
import { RotateCcw } from "lucide";
import { useId } from "preact/hooks";
import { IconButton } from "./button";

interface SliderProps {
  label: string;
  /** One sentence on what it does. */
  hint?: string;
  /** Null: not given. */
  value: number | null;
  /** What holds while it is not given; null: nothing does. */
  fallback: number | null;
  min: number;
  max: number;
  step: number;
  onChange: (value: number | null) => void;
}

export function Slider({ label, hint, value, fallback, min, max, step, onChange }: SliderProps) {
  const id = useId();
  const change = ({ currentTarget }: { currentTarget: HTMLInputElement }) => {
    const given = currentTarget.valueAsNumber;
    onChange(Number.isNaN(given) ? null : Math.min(max, Math.max(min, given)));
  };
  return (
    <div class="slider" data-given={value !== null}>
      <div class="slider-head">
        <label for={id}>{label}</label>
        {value !== null && <IconButton icon={RotateCcw} size={13} label={`${label}: back to the default`} onClick={() => onChange(null)} />}
        <input id={id} type="number" min={min} max={max} step={step} value={value ?? ""} placeholder={fallback === null ? "off" : String(fallback)} aria-describedby={hint ? `${id}-hint` : undefined} onChange={change} />
      </div>
      <input type="range" min={min} max={max} step={step} value={value ?? fallback ?? max} aria-label={label} onInput={change} />
      {hint && <p id={`${id}-hint`} class="hint">{hint}</p>}
    </div>
  );
}
