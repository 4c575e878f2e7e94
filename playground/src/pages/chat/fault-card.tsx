/** What went wrong, in a sentence for the reader, and what can be done. */
import { useEffect, useState } from "preact/hooks";
import type { AnswerState, Fault } from "../../conversations/conversation";

export function FaultCard({ fault, state, hasText, onRetry }: {
  fault: Fault;
  state: AnswerState;
  hasText: boolean;
  /** Null where something follows, which would be forgotten. */
  onRetry: (() => void) | null;
}) {
  const leftS = useLeft(fault.retryAt);
  const [title, advice] = words(fault, hasText);
  return (
    <div class={`fault-card ${fault.status === 429 ? "mild" : ""}`} role={state === "waiting" ? "status" : "alert"}>
      <p><b>{title}</b> {advice}</p>
      <p class="fault-detail">{fault.status > 0 && `HTTP ${fault.status} · `}{fault.code !== null && `code ${fault.code} · `}{fault.message}</p>
      {state === "waiting"
        ? <p class="fault-next">{leftS > 0 ? `Asking again in ${duration(leftS)} …` : "Asking again …"}</p>
        : onRetry && <button type="button" class="button small" onClick={onRetry}>{leftS > 0 ? `Try again (room in ${duration(leftS)})` : "Try again"}</button>}
    </div>
  );
}

/** A title, and a sentence on what helps. */
function words({ status, code }: Fault, hasText: boolean): [string, string] {
  if (code === 4006) return ["Today's allocation is used up.", "It is renewed at 00:00 UTC; whoever runs this server can raise it."];
  if (code === 3021) return ["Too many requests in this minute.", "The account has a limit per minute."];
  if (code === 3040 && status === 429) return ["No capacity at the moment.", "The model's places are all taken."];
  if (code === 3040) return ["This model cannot answer here.", "Its weights are missing, or its engine is being started again."];
  if (code === 5012) return ["The engine failed while it answered.", hasText ? "What had come stays; another try may go well." : "It is replaced; another try may go well."];
  if (code === 5021) return ["The conversation is too long for this model.", "Begin a new one, or shorten this one."];
  if (code === 5006) return ["The server refused the request.", "A setting is out of its range."];
  if (status === 401) return ["You are no longer signed in.", "The API token has ended or was revoked."];
  if (status === 408) return ["The answer was not whole in time.", ""];
  if (status === 0) return ["The connection broke.", hasText ? "The answer is not whole." : ""];
  return ["Something went wrong.", ""];
}

/** Whole seconds until a moment, counted down. */
function useLeft(until: number | null): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (until === null) return;
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [until]);
  return until === null ? 0 : Math.max(0, Math.ceil((until - now) / 1000));
}

function duration(s: number): string {
  if (s < 120) return `${s} s`;
  const minutes = Math.round(s / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
