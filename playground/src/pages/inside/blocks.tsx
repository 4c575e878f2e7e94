/** The KV blocks of an answer while it is made, and again afterwards with a slider. */
import { useEffect, useRef, useState } from "preact/hooks";
import { announce } from "../../ui/announce";
import { answer, type Frame, frames } from "./live";
import { liveRequestId, question, type Subject } from "./subject";
import { plural } from "./words";

type State = "idle" | "running" | "over";

export function LiveBlocks({ subject, window }: { subject: Subject; window: number | null }) {
  const [state, setState] = useState<State>("idle");
  const [recorded, setRecorded] = useState<readonly Frame[]>([]);
  const [at, setAt] = useState<number | null>(null);
  const [text, setText] = useState("");
  const [fault, setFault] = useState<Error | null>(null);
  const running = useRef<AbortController | null>(null);

  const watch = async (requestId: string, { signal }: AbortController) => {
    for await (const frame of frames(requestId, signal)) {
      if (!signal.aborted) setRecorded((before) => [...before, frame]);
    }
  };
  const begin = () => {
    running.current?.abort();
    const controller = new AbortController();
    running.current = controller;
    setRecorded([]);
    setAt(null);
    setText("");
    setFault(null);
    setState("running");
    return controller;
  };
  const end = (controller: AbortController, error?: unknown) => {
    if (running.current !== controller) return;
    running.current = null;
    if (error && !controller.signal.aborted) setFault(error as Error);
    setState("over");
    announce("The answer is over.");
  };
  const ask = () => {
    const controller = begin();
    let watching: Promise<void> | null = null;
    answer(
      { ...subject, messages: question(subject.messages) },
      {
        begun: (requestId) => (watching = watch(requestId, controller)),
        text: (piece) => setText((before) => before + piece),
      },
      controller.signal,
    )
      .then(() => watching)
      .then(() => end(controller), (error) => end(controller, error));
  };

  // An answer of the chat that runs meanwhile is watched, too.
  const requestId = liveRequestId.value;
  useEffect(() => {
    if (!requestId) return;
    const controller = begin();
    watch(requestId, controller).then(() => end(controller), (error) => end(controller, error));
    return () => controller.abort();
  }, [requestId]);
  useEffect(() => () => running.current?.abort(), []);

  const shown = recorded[at ?? recorded.length - 1];
  return (
    <div class="live card">
      <div class="live-head">
        {state === "running"
          ? <button type="button" class="button" onClick={() => running.current?.abort()}>Stop</button>
          : <button type="button" class="button primary" onClick={ask}>{state === "idle" ? "Let it answer, and watch" : "Once more"}</button>}
        <p class="hint">{state === "over" ? "The second time the beginning is found in the prefix cache." : "Asks the last question; the answer is not kept in the conversation."}</p>
      </div>
      {fault && <p class="fault" role="alert">{fault.message}</p>}
      {shown ? <Strip frame={shown} window={window} /> : <p class="hint strip-empty">No answer is being made.</p>}
      {state === "over" && recorded.length > 1 && (
        <label class="replay">
          See it again
          <input type="range" min={0} max={recorded.length - 1} value={at ?? recorded.length - 1} aria-valuetext={shown && `${shown.nTokens} tokens`} onInput={({ currentTarget }) => setAt(currentTarget.valueAsNumber)} />
        </label>
      )}
      <Legend />
      {text && <p class="live-text">{text}</p>}
    </div>
  );
}

function Strip({ frame, window }: { frame: Frame; window: number | null }) {
  const { blockSize, nTokens, nGivenBack, blocks, pool } = frame;
  const nCached = blocks.filter(({ cached }) => cached).length;
  const words = `${plural(nTokens, "token")} so far: ${plural(nGivenBack, "block")} given back, ${blocks.length} held, ${nCached} of these from the prefix cache.`;
  return (
    <>
      <div class="strip" role="img" aria-label={words}>
        {Array.from({ length: nGivenBack }, (_, index) => <span key={index} class="block gone" title={`Tokens ${index * blockSize} … ${(index + 1) * blockSize - 1}: given back`} />)}
        {blocks.map(({ id, filled, cached }, place) => {
          const first = (nGivenBack + place) * blockSize;
          return (
            <span key={nGivenBack + place} class={`block ${cached ? "cached" : "held"}`} title={`Tokens ${first} … ${first + blockSize - 1}: block ${id}, ${filled} of ${blockSize} filled${cached ? ", from the prefix cache" : ""}`}>
              <span style={{ height: `${(100 * filled) / blockSize}%` }} />
            </span>
          );
        })}
      </div>
      <p class="strip-words">{words}</p>
      <p class="hint">
        {window === null ? "Without a window an answer keeps all of its blocks until its end." : windowInWords(frame, window)}
        {" "}All blocks of the engine: {pool.held.toLocaleString("en")} held, {pool.idle.toLocaleString("en")} kept for beginnings that may come again, {pool.free.toLocaleString("en")} free.
      </p>
    </>
  );
}

function windowInWords({ nTokens, blockSize, nGivenBack }: Frame, window: number): string {
  const most = Math.ceil((window - 1) / blockSize) + 1;
  if (nGivenBack) return `No token that comes sees further back than ${window} tokens, so at most ${most} blocks are held, however long the answer gets.`;
  return `Nothing is given back yet: that begins when the text is longer than the window of ${window} tokens (it has ${nTokens}).`;
}

function Legend() {
  return (
    <ul class="legend">
      <li><span class="block held"><span class="half" /></span> filled so far</li>
      <li><span class="block cached"><span class="whole" /></span> found in the prefix cache</li>
      <li><span class="block gone" /> given back, behind the window</li>
    </ul>
  );
}
