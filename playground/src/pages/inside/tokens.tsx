/** The text as the model reads it. A token that is chosen shows what it looks at. */
import { useEffect, useRef, useState } from "preact/hooks";
import { looked, type Inspection, isVisible, type Maps, type Token } from "./inspection";
import { percent, quoted, share, shown } from "./words";

export function Tokens({ inspection, maps, head, query, onQuery }: {
  inspection: Inspection;
  /** Of the layer that is shown; null while they are asked for. */
  maps: Maps | null;
  head: number;
  /** The token that looks. */
  query: number;
  onQuery: (index: number) => void;
}) {
  const [hovered, setHovered] = useState<number | null>(null);
  const { tokens, model } = inspection;
  const n = tokens.length;
  const weights = tokens.map((_, key) => (maps ? looked(maps, head, query, key, n) : 0));
  const most = Math.max(...weights, 1e-6);
  const chips = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const chip = chips.current!.children[query] as HTMLElement;
    scrollWithin(chips.current!, chip);
  }, [query]);
  const move = (event: KeyboardEvent) => {
    const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -10, ArrowDown: 10, Home: -n, End: n };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    onQuery(Math.min(n - 1, Math.max(0, query + step)));
  };
  return (
    <div class="tokens">
      <div ref={chips} class="chips" role="listbox" tabIndex={0} aria-label="Tokens of the text: arrow keys choose the one that looks" aria-activedescendant={`token-${query}`} onKeyDown={move} onPointerLeave={() => setHovered(null)}>
        {tokens.map((token, index) => (
          <span
            key={index}
            id={`token-${index}`}
            role="option"
            aria-selected={index === query}
            aria-label={`${shown(token)}, token ${index}`}
            class={`chip ${token.control ? "control" : ""} ${isVisible(query, index, model.window) ? "" : "unseen"}`}
            style={{ "--weight": Math.sqrt(weights[index]! / most).toFixed(3) }}
            onPointerEnter={() => setHovered(index)}
            onClick={() => onQuery(index)}
          >
            {shown(token)}
          </span>
        ))}
      </div>
      <Detail inspection={inspection} index={hovered ?? query} weight={weights[hovered ?? query] ?? null} query={query} />
    </div>
  );
}

/** Shows a chip without moving the page. */
function scrollWithin(box: HTMLElement, chip: HTMLElement): void {
  const [top, bottom] = [chip.offsetTop - box.offsetTop, chip.offsetTop - box.offsetTop + chip.offsetHeight];
  if (top < box.scrollTop) box.scrollTop = top - chip.offsetHeight;
  else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom + chip.offsetHeight - box.clientHeight;
}

function Detail({ inspection, index, weight, query }: {
  inspection: Inspection;
  index: number;
  weight: number | null;
  query: number;
}) {
  const token = inspection.tokens[index];
  if (!token) return null;
  const { window } = inspection.model;
  const who = index === query ? "It looks at itself" : `Token ${query} looks at it`;
  const sight = isVisible(query, index, window)
    ? weight !== null && `${who}: ${share(weight)}`
    : index > query ? `Token ${query} comes before it, and cannot see it` : `Behind the window of token ${query}: not seen`;
  return (
    <div class="token-detail">
      <p>
        <strong class="token-text">{shown(token)}</strong>
        <span class="hint">token {index} · id {token.id}{token.control && " · control token"}</span>
      </p>
      <p class="hint">{sight}</p>
      {token.probability === undefined
        ? <p class="hint">Nothing stands before it, so nothing was expected.</p>
        : <Expected token={token} />}
    </div>
  );
}

/** What the model thought would stand here. */
function Expected({ token }: { token: Token }) {
  const alternatives = token.alternatives ?? [];
  return (
    <div class="expected">
      <p class="hint">What the model expected here. It gave {quoted(token)} {percent(token.probability!)}.</p>
      <ol>
        {alternatives.map((other) => (
          <li key={other.id} class={other.id === token.id ? "hit" : ""}>
            <span class="token-text">{shown(other)}</span>
            <span class="meter" aria-hidden="true"><span style={{ width: `${100 * other.probability!}%` }} /></span>
            <span class="value">{percent(other.probability!)}</span>
          </li>
        ))}
      </ol>
    </div>
  );
}
