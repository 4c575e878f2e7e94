/** A look inside of the model at work: tokens, attention, groups of heads, blocks of the cache. */
import { useEffect, useState } from "preact/hooks";
import type { Route } from "../../router";
import { href } from "../../router";
import { areModelsKnown } from "../../models";
import { Heads, Large, LayerPicker, LookedAt } from "./attention";
import { LiveBlocks } from "./blocks";
import { Groupings } from "./grouping";
import type { Inspection, Token } from "./inspection";
import { type Looking, useInspection } from "./looking";
import { hasConversation, subject, wantsExample, type Subject } from "./subject";
import { Tokens } from "./tokens";
import { plural } from "./words";

export default function Inside(_: { route: Route }) {
  return (
    <div class="page inside">
      <header class="inside-head">
        <h1>Inside the model</h1>
        <p class="lead">What it reads, where it looks, and what it keeps. Real numbers, from the engine that answers.</p>
      </header>
      {areModelsKnown.value ? <Looked subject={subject.value} /> : <p class="hint" role="status">Looking …</p>}
    </div>
  );
}

/** Early heads look at everything alike; a little later each has found its own taste. */
const FIRST_LAYER = 1;

function Looked({ subject: looked }: { subject: Subject }) {
  const [layer, setLayer] = useState(FIRST_LAYER);
  const looking = useInspection(looked, layer);
  const { inspection } = looking;
  const isTooDeep = layer > 0 && (looking.fault?.message.includes("'/layers'") ?? false);
  useEffect(() => {
    if (isTooDeep) setLayer(0); // a model of one layer
  }, [isTooDeep]);
  return (
    <>
      <About subject={looked} looking={looking} />
      {looking.fault && !isTooDeep && (
        <p class="fault" role="alert">{looking.fault.message} <button type="button" class="button small" onClick={looking.retry}>Try again</button></p>
      )}
      {inspection && <Shown key={`${inspection.model.id} ${inspection.tokens.length}`} inspection={inspection} layer={layer} onLayer={setLayer} subject={looked} isBusy={looking.isBusy} />}
    </>
  );
}

/** The last token that is a word, or the last one. */
function lastWord(tokens: readonly Token[]): number {
  const found = tokens.findLastIndex(({ text, control }) => !control && /\p{L}/u.test(text));
  return found < 0 ? tokens.length - 1 : found;
}

function About({ subject: { isExample }, looking: { inspection, isCut, isBusy } }: {
  subject: Subject;
  looking: Looking;
}) {
  return (
    <div class="about">
      <p class="hint" role="status">
        {isExample ? "An example" : "The conversation at hand"}
        {inspection && ` as ${inspection.model.id} reads it: ${plural(inspection.tokens.length, "token")}`}
        {isCut && ", without its beginning: the whole is too long to be looked into"}
        {isBusy && " · looking …"}
      </p>
      {hasConversation.value
        ? <button type="button" class="button ghost small" onClick={() => (wantsExample.value = !wantsExample.value)}>{isExample ? "My conversation" : "A longer example"}</button>
        : <a class="button ghost small" href={href("chat")}>Begin a conversation</a>}
    </div>
  );
}

function Shown({ inspection, layer, onLayer, subject: looked, isBusy }: {
  inspection: Inspection;
  layer: number;
  onLayer: (layer: number) => void;
  subject: Subject;
  isBusy: boolean;
}) {
  const { model, tokens } = inspection;
  const [head, setHead] = useState(0);
  const [query, setQuery] = useState(() => lastWord(tokens));
  const [cell, setCell] = useState<number | null>(null);
  const maps = inspection.layers.get(layer) ?? null;
  const chosen = { layer, head, query };
  const look = (row: number, key: number | null) => {
    setQuery(row);
    setCell(key);
  };
  return (
    <>
      <section aria-labelledby="tokens-title">
        <h2 id="tokens-title">The text, in tokens</h2>
        <p class="section-words">A model reads pieces of words. Choose one: the stronger another is coloured, the more the chosen one looks at it. Pale ones it cannot see: they come later{model.window !== null && `, or lie more than ${model.window} tokens back`}.</p>
        <div class="pickers">
          <LayerPicker name="layer-of-text" nLayers={model.n_layers} layer={layer} onLayer={onLayer} />
          <span class="hint">as head {head + 1} looks, which is chosen below</span>
        </div>
        <Tokens inspection={inspection} maps={maps} head={head} query={query} onQuery={(index) => look(index, null)} />
      </section>
      <section aria-labelledby="attention-title" aria-busy={isBusy}>
        <h2 id="attention-title">Where each head looks</h2>
        <p class="section-words">Every layer has {plural(model.n_heads, "head")}, and each has learned to look at something else. Choose one to see it large.</p>
        <div class="pickers"><LayerPicker name="layer" nLayers={model.n_layers} layer={layer} onLayer={onLayer} /></div>
        {maps
          ? (
            <div class="attention">
              <Heads inspection={inspection} maps={maps} head={head} onHead={setHead} />
              <Large inspection={inspection} maps={maps} chosen={chosen} cell={cell} onCell={look} />
              <LookedAt inspection={inspection} maps={maps} chosen={chosen} />
            </div>
          )
          : <p class="hint">Looking at layer {layer + 1} …</p>}
      </section>
      <section aria-labelledby="groups-title">
        <h2 id="groups-title">Who shares keys and values</h2>
        <p class="section-words">What a token has been is kept as keys and values, so that it is not computed again. Sharing them among heads keeps less. Choose how many there are, and see what it would cost.</p>
        <Groupings key={model.id} model={model} />
      </section>
      <section aria-labelledby="blocks-title">
        <h2 id="blocks-title">The cache, block by block</h2>
        <p class="section-words">Keys and values are kept in blocks of {plural(model.block_size, "token")}. {model.window === null ? "An answer takes one after the other." : `An answer takes one after the other, and gives back those behind the window of ${model.window}.`}</p>
        <LiveBlocks subject={looked} window={model.window} />
      </section>
    </>
  );
}
