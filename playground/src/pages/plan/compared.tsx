/** The same network with multi-head, grouped-query and multi-query attention, side by side. */
import { bytes, count, plain } from "../../charts/format";
import type { Plan, Row } from "./plan";

const NOTHING = "–";

const FIGURES: readonly (readonly [name: string, told: (row: Row) => string])[] = [
  ["KV heads", (row) => count(row.kv_heads)],
  ["A token keeps", (row) => bytes(row.kv_bytes_per_token)],
  ["A sequence keeps", (row) => bytes(row.kv_bytes_per_sequence)],
  ["Weights", (row) => bytes(row.weights_bytes)],
  ["Sequences that fit", (row) => count(row.largest_batch)],
  ["Tokens/s, one sequence", (row) => rate(row.single_tokens_per_s)],
  ["Tokens/s together", (row) => rate(row.tokens_per_s)],
  ["USD per million tokens", (row) => (row.usd_per_million_tokens === null ? NOTHING : plain(row.usd_per_million_tokens))],
];

export function Compared({ plan }: { plan: Plan }) {
  const { compared } = plan;
  return (
    <section aria-labelledby="compared-title">
      <h2 id="compared-title">What sharing keys and values buys</h2>
      <p class="section-words">{gain(compared)}</p>
      <div class="plan-table">
        <table>
          <thead>
            <tr>
              <td />
              {compared.map((row) => <th key={row.attention} scope="col">{row.attention}{row.is_this_model && <em> as asked</em>}</th>)}
            </tr>
          </thead>
          <tbody>
            {FIGURES.map(([name, told]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                {compared.map((row) => <td key={row.attention} data-own={row.is_this_model}>{told(row)}</td>)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function rate(value: number | null): string {
  return value === null ? NOTHING : value < 100 ? plain(value) : count(Math.round(value));
}

/** "Close to four times as many tokens per second": here, or not. */
function gain(rows: readonly Row[]): string {
  const [multi, grouped] = [rows[0]!, rows.find(({ attention }) => attention.startsWith("GQA"))];
  const begin = "Grouped-query attention keeps and reads less for each token";
  if (!grouped?.tokens_per_s || !grouped.single_tokens_per_s) return `${begin}.`;
  if (!multi.tokens_per_s || !multi.single_tokens_per_s) return `${begin}; with multi-head attention this would not fit.`;
  const together = plain(grouped.tokens_per_s / multi.tokens_per_s);
  const alone = plain(grouped.single_tokens_per_s / multi.single_tokens_per_s);
  return `${begin}. Here ${grouped.attention} gives ${together} times the tokens of multi-head attention with ${batchWords(grouped, multi)}, and ${alone} times for one sequence alone.`;
}

function batchWords(grouped: Row, multi: Row): string {
  if (grouped.batch === multi.batch) return `${count(grouped.batch!)} at once`;
  return `the memory full: ${count(grouped.batch!)} sequences against ${count(multi.batch!)}`;
}
