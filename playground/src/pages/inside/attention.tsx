/** What the heads of a layer look at: all of them small, one of them large. */
import { useMemo } from "preact/hooks";
import { HeatMap } from "../../charts/heat-map";
import { series } from "../../charts/colours";
import { BigMap } from "./big-map";
import { type Inspection, isVisible, looked, type Maps } from "./inspection";
import { plural, quoted, share } from "./words";

/** The share that gets the strongest colour. */
const FULL = 0.36;

/** Cells of a side of a small map. */
const SMALL = 72;

export interface Chosen {
  readonly layer: number;
  readonly head: number;
  readonly query: number;
}

export function LayerPicker({ name, nLayers, layer, onLayer }: {
  /** Of the group of radio buttons: there are two pickers. */
  name: string;
  nLayers: number;
  layer: number;
  onLayer: (layer: number) => void;
}) {
  if (nLayers > 12) {
    return (
      <label class="layer-select">Layer{" "}
        <select value={layer} onChange={({ currentTarget }) => onLayer(Number(currentTarget.value))}>
          {Array.from({ length: nLayers }, (_, index) => <option key={index} value={index}>{index + 1} of {nLayers}</option>)}
        </select>
      </label>
    );
  }
  return (
    <fieldset class="segments">
      <legend>Layer</legend>
      {Array.from({ length: nLayers }, (_, index) => (
        <label key={index}>
          <input type="radio" name={name} checked={index === layer} onChange={() => onLayer(index)} />
          <span>{index + 1}</span>
        </label>
      ))}
    </fieldset>
  );
}

export function Heads({ inspection, maps, head, onHead }: {
  inspection: Inspection;
  maps: Maps;
  head: number;
  onHead: (head: number) => void;
}) {
  const { n_kv_heads: nKvHeads, group_size: groupSize } = inspection.model;
  return (
    <div class="heads">
      {Array.from({ length: nKvHeads }, (_, group) => (
        <fieldset key={group} class="group" style={{ "--series": series(group), "--size": groupSize }}>
          <legend>{groupSize > 1 ? `share KV head ${group + 1}` : `KV head ${group + 1}`}</legend>
          {Array.from({ length: groupSize }, (_, member) => group * groupSize + member).map((index) => (
            <label key={index} class="small-head">
              <input class="visually-hidden" type="radio" name="head" checked={index === head} onChange={() => onHead(index)} />
              <SmallMap inspection={inspection} maps={maps} head={index} />
              <span>Head {index + 1}</span>
            </label>
          ))}
        </fieldset>
      ))}
    </div>
  );
}

function SmallMap({ inspection, maps, head }: { inspection: Inspection; maps: Maps; head: number }) {
  const { tokens, model } = inspection;
  const { values, size } = useMemo(
    () => shrunk(maps, head, tokens.length, model.window),
    [maps, head, tokens.length, model.window],
  );
  return <HeatMap values={values} rows={size} columns={size} most={1} label={`Attention of head ${head + 1}`} />;
}

export function Large({ inspection, maps, chosen, cell, onCell }: {
  inspection: Inspection;
  maps: Maps;
  chosen: Chosen;
  /** The key that is read out, of the query that is chosen; null: the one it looks at most. */
  cell: number | null;
  onCell: (query: number, key: number) => void;
}) {
  const { tokens, model } = inspection;
  const n = tokens.length;
  const values = useMemo(() => strengths(maps, chosen.head, n, model.window), [maps, chosen.head, n, model.window]);
  const { query } = chosen;
  const key = cell ?? strongest(maps, chosen, n);
  const name = `Layer ${chosen.layer + 1}, head ${chosen.head + 1}`;
  return (
    <figure class="large-map">
      <figcaption>
        <strong>{name}</strong>
        <span class="readout" role="status">
          {isVisible(query, key, model.window)
            ? <>{quoted(tokens[query]!)} looks at {quoted(tokens[key]!)}: <b>{share(looked(maps, chosen.head, query, key, n))}</b></>
            : <>{quoted(tokens[query]!)} cannot see {quoted(tokens[key]!)}: behind the window</>}
        </span>
      </figcaption>
      <BigMap values={values} n={n} window={model.window} query={query} keyAt={key} label={`${name}: ${n} tokens look at ${n} tokens. The table beside it tells the row that is chosen.`} onCell={onCell} />
      <MapWords n={n} window={model.window} />
    </figure>
  );
}

function MapWords({ n, window }: { n: number; window: number | null }) {
  return (
    <p class="hint">
      Each row is a token that looks, each column a token that is looked at: the stronger the colour, the more.
      Right of the diagonal is the future, which nobody sees.{" "}
      {window === null
        ? "This model has no window: every token sees all before it."
        : n > window
          ? `Left of the lower line lies what is more than ${window} tokens back: behind the window, and not seen either.`
          : `The window of ${window} tokens is longer than this text, so it hides nothing here.`}
    </p>
  );
}

/** The same as the map's row, for those who do not see it, and for those who want numbers. */
export function LookedAt({ inspection, maps, chosen }: { inspection: Inspection; maps: Maps; chosen: Chosen }) {
  const { tokens } = inspection;
  const { head, query } = chosen;
  const rows = tokens
    .map((token, key) => ({ token, key, weight: looked(maps, head, query, key, tokens.length) }))
    .filter(({ weight }) => weight > 0)
    .sort((one, other) => other.weight - one.weight)
    .slice(0, 8);
  return (
    <details class="looked-at" open>
      <summary>What {quoted(tokens[query]!)}, token {query}, looks at most</summary>
      <table>
        <thead><tr><th scope="col">Token</th><th scope="col">Text</th><th scope="col">Tokens back</th><th scope="col">Share</th></tr></thead>
        <tbody>
          {rows.map(({ token, key, weight }) => (
            <tr key={key}><td>{key}</td><td>{quoted(token)}</td><td>{query - key}</td><td>{share(weight)}</td></tr>
          ))}
        </tbody>
      </table>
      <p class="hint">The {plural(rows.length, "token")} with the largest shares; all shares together are 1.</p>
    </details>
  );
}

function strongest(maps: Maps, { head, query }: Chosen, n: number): number {
  const from = (head * n + query) * n;
  const row = maps.subarray(from, from + n);
  return row.indexOf(Math.max(...row));
}

/** Square roots, so that small shares are seen beside large ones; NaN where nothing can be seen. */
function strengths(maps: Maps, head: number, n: number, window: number | null): Float32Array {
  const values = new Float32Array(n * n).fill(NaN);
  for (let query = 0; query < n; query++) {
    const first = window === null ? 0 : Math.max(0, query - window + 1);
    for (let key = first; key <= query; key++) {
      values[query * n + key] = Math.sqrt(looked(maps, head, query, key, n) / FULL);
    }
  }
  return values;
}

/** A smaller map: of several cells the strongest is kept. */
function shrunk(maps: Maps, head: number, n: number, window: number | null) {
  const whole = strengths(maps, head, n, window);
  if (n <= SMALL) return { values: whole, size: n };
  const values = new Float32Array(SMALL * SMALL).fill(NaN);
  for (let query = 0; query < n; query++) {
    for (let key = 0; key <= query; key++) {
      const value = whole[query * n + key]!;
      const at = Math.floor((query * SMALL) / n) * SMALL + Math.floor((key * SMALL) / n);
      if (!Number.isNaN(value) && !(values[at]! >= value)) values[at] = value;
    }
  }
  return { values, size: SMALL };
}
