/** Which query heads share which KV head, and what another number of KV heads would cost. */
import { useState } from "preact/hooks";
import { series } from "../../charts/colours";
import { bytes } from "../../charts/format";
import type { Grouping, Shape } from "./inspection";
import { kind, plural } from "./words";

const GAP = 44;
const TOP = 26;
const BOTTOM = 118;

export function Groupings({ model }: { model: Shape }) {
  const [chosen, setChosen] = useState(model.n_kv_heads);
  const most = Math.max(...model.groupings.map((grouping) => grouping.kv_bytes_per_token));
  const found = model.groupings.find((grouping) => grouping.n_kv_heads === chosen)!;
  return (
    <div class="groupings">
      <figure class="card">
        <Drawing nHeads={model.n_heads} nKvHeads={chosen} />
        <figcaption class="hint">{inWords(model, chosen)}</figcaption>
      </figure>
      <fieldset class="costs">
        <legend>One token keeps in the cache</legend>
        {model.groupings.map((grouping) => (
          <Cost key={grouping.n_kv_heads} model={model} grouping={grouping} share={grouping.kv_bytes_per_token / most} isChosen={grouping === found} onChoose={() => setChosen(grouping.n_kv_heads)} />
        ))}
        <p class="hint">{cacheInWords(model, found)}</p>
      </fieldset>
    </div>
  );
}

function Cost({ model, grouping, share, isChosen, onChoose }: {
  model: Shape;
  grouping: Grouping;
  share: number;
  isChosen: boolean;
  onChoose: () => void;
}) {
  const { n_kv_heads: n, kv_bytes_per_token: size } = grouping;
  const isOwn = n === model.n_kv_heads;
  return (
    <label class="cost" data-own={isOwn}>
      <input type="radio" name="grouping" checked={isChosen} onChange={onChoose} />
      <span>{kind(model.n_heads, n)} · {plural(n, "KV head")}{isOwn && <em> this model</em>}</span>
      <span class="meter" aria-hidden="true"><span style={{ width: `${100 * share}%` }} /></span>
      <span class="value">{bytes(size)}</span>
    </label>
  );
}

/** Query heads above, KV heads below, a line for who reads whom. */
function Drawing({ nHeads, nKvHeads }: { nHeads: number; nKvHeads: number }) {
  const groupSize = nHeads / nKvHeads;
  const middle = (group: number) => ((group + 0.5) * groupSize) * GAP;
  const name = `${plural(nHeads, "query head")}, ${plural(nKvHeads, "KV head")}: ${groupSize === 1 ? "each has its own" : `${groupSize} share one`}`;
  return (
    <svg class="head-drawing" viewBox={`0 0 ${nHeads * GAP} 152`} role="img" aria-label={name}>
      {Array.from({ length: nHeads }, (_, head) => {
        const group = Math.floor(head / groupSize);
        const x = (head + 0.5) * GAP;
        return (
          <g key={head} style={{ "--series": series(group) }}>
            <path class="reads" d={`M${x} ${TOP + 13}C${x} ${TOP + 55} ${middle(group)} ${BOTTOM - 55} ${middle(group)} ${BOTTOM - 15}`} />
            <circle class="query-head" cx={x} cy={TOP} r="13" />
            <text x={x} y={TOP}>{head + 1}</text>
          </g>
        );
      })}
      {Array.from({ length: nKvHeads }, (_, group) => (
        <g key={group} style={{ "--series": series(group) }}>
          <rect class="kv-head" x={middle(group) - 17} y={BOTTOM - 15} width="34" height="30" rx="6" />
          <text x={middle(group)} y={BOTTOM}>KV</text>
        </g>
      ))}
    </svg>
  );
}

function inWords(model: Shape, nKvHeads: number): string {
  const size = model.n_heads / nKvHeads;
  const begin = `Above, the ${plural(model.n_heads, "query head")}: each asks a question of its own. Below, the KV heads: the keys and values that are kept, and read for an answer. `;
  if (size === 1) return `${begin}In multi-head attention each query head has its own.`;
  if (nKvHeads === 1) return `${begin}In multi-query attention all query heads read the same one.`;
  return `${begin}In grouped-query attention ${size} query heads share one, so ${size} times less is kept and read.`;
}

function cacheInWords(model: Shape, { kv_bytes_per_token: size, n_kv_heads: n }: Grouping): string {
  const kept = model.window === null ? model.max_seq_len : Math.min(model.window, model.max_seq_len);
  const what = `Keys and values, ${model.n_layers} layers, ${plural(n, "KV head")} of ${model.head_dim} numbers in ${model.kv_format}.`;
  const whole = bytes(kept * size);
  return model.window === null
    ? `${what} A conversation of ${kept.toLocaleString("en")} tokens keeps ${whole}.`
    : `${what} The window keeps ${kept.toLocaleString("en")} tokens: ${whole} a conversation, and never more, however long it gets. All ${model.max_seq_len.toLocaleString("en")} tokens would be ${bytes(model.max_seq_len * size)}.`;
}
