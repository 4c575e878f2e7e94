/** What an answer took: how fast it came, how many tokens, what it cost. */
import { count, seconds } from "../../charts/format";
import type { Answer } from "../../conversations/conversation";

export function Measures({ turn: { usage, ttftS, tokensPerS, state } }: { turn: Answer }) {
  const rows: [name: string, value: string, explanation: string][] = [];
  if (tokensPerS) rows.push(["tokens/s", tokensPerS.toFixed(tokensPerS < 100 ? 1 : 0), "Output tokens per second, after the first one, as this page saw them come"]);
  if (ttftS !== undefined) rows.push(["first token", seconds(ttftS), "Time from the request to the first text"]);
  if (usage) {
    rows.push(["prompt", count(usage.promptTokens), "Tokens of the prompt, the chat template included"]);
    if (usage.cachedTokens) rows.push(["cached", count(usage.cachedTokens), "Tokens of the prompt whose keys and values were still in the cache"]);
    rows.push(["output", count(usage.outputTokens), "Tokens of the answer, the one that ended it included"]);
    if (usage.neurons !== null) rows.push(["neurons", count(usage.neurons), "What the answer cost"]);
  }
  return (
    <dl class="measures">
      {state === "stopped" && <div><dt>stopped</dt><dd /></div>}
      {rows.map(([name, value, explanation]) => (
        <div key={name} title={explanation}><dd>{value}</dd><dt>{name}</dt></div>
      ))}
    </dl>
  );
}
