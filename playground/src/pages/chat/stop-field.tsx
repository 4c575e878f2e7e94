/** Texts before which an answer ends. `\n` and `\t` are written as in code. */
import { X } from "lucide";
import { useId, useState } from "preact/hooks";
import { IconButton } from "../../ui/button";

const MOST = 16;

export function StopField({ value, onChange }: {
  value: readonly string[];
  onChange: (value: readonly string[]) => void;
}) {
  const id = useId();
  const [written, setWritten] = useState("");
  const add = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || !written) return;
    event.preventDefault();
    onChange([...new Set([...value, meant(written)])].slice(0, MOST));
    setWritten("");
  };
  return (
    <div>
      <label for={id}>Stop at</label>
      {value.length > 0 && (
        <ul class="chips">
          {value.map((text) => (
            <li key={text}>
              <code>{shown(text)}</code>
              <IconButton icon={X} size={12} label={`Do not stop at ${shown(text)}`} onClick={() => onChange(value.filter((one) => one !== text))} />
            </li>
          ))}
        </ul>
      )}
      <input id={id} value={written} placeholder="a text, then Enter" disabled={value.length >= MOST} onInput={({ currentTarget }) => setWritten(currentTarget.value)} onKeyDown={add} />
      <p class="hint">The answer ends before it. <code>\n</code> is a new line.</p>
    </div>
  );
}

function meant(written: string): string {
  return written.replace(/\\([nt\\])/g, (_, sign: string) => ({ n: "\n", t: "\t" })[sign] ?? sign);
}

function shown(text: string): string {
  return JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"');
}
