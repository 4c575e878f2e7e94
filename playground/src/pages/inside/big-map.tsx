/** One head's map with the window's band drawn over it; read by pointer or by keys. */
import { HeatMap } from "../../charts/heat-map";

/** The window's share of the text up to which there is room for words beside the band. */
const LABELLED = 0.88;

export function BigMap({ values, n, window, query, keyAt, label, onCell }: {
  /** [n × n], NaN where nothing can be seen. */
  values: Float32Array;
  n: number;
  window: number | null;
  query: number;
  keyAt: number;
  label: string;
  /** The cell under the pointer, or the one that keys have moved to. */
  onCell: (query: number, key: number) => void;
}) {
  const isCut = window !== null && window < n;
  const move = (event: KeyboardEvent) => {
    const step = event.shiftKey ? 10 : 1;
    const moves: Record<string, [number, number]> = {
      ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step],
    };
    const found = moves[event.key];
    if (!found) return;
    event.preventDefault();
    const row = within(query + found[0], n - 1);
    onCell(row, within(keyAt + found[1], row));
  };
  return (
    <div class="big-map" tabIndex={0} role="group" aria-label="Attention map: arrow keys move, with Shift by ten" onKeyDown={move}>
      <HeatMap values={values} rows={n} columns={n} most={1} label={label} onCell={(cell) => cell && onCell(cell.row, Math.min(cell.column, cell.row))} />
      <svg viewBox={`0 0 ${n} ${n}`} preserveAspectRatio="none" aria-hidden="true">
        <path class="edge" d={steps(0, n)} />
        {isCut && <path class="edge band" d={steps(window, n)} />}
        <path class="cross" d={`M0 ${query + 0.5}H${query + 1}M${keyAt + 0.5} ${keyAt}V${n}`} />
      </svg>
      {isCut && window < LABELLED * n && <span class="band-label">behind the window</span>}
      <span class="future-label">the future</span>
    </div>
  );
}

/** The line right of the diagonal, or the one that lies `behind` tokens left of it. */
function steps(behind: number, n: number): string {
  return behind === 0 ? `M0 0L${n} ${n}` : `M0 ${behind}L${n - behind} ${n}`;
}

function within(value: number, most: number): number {
  return Math.min(most, Math.max(0, value));
}
