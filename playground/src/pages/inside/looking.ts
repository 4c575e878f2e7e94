/** The inspection that is shown: asked anew for another text, and for one more layer when wanted. */
import { useEffect, useState } from "preact/hooks";
import { ApiError } from "../../api";
import type { Message } from "../../conversations/request";
import { inspect, type Inspection } from "./inspection";
import type { Subject } from "./subject";

export interface Looking {
  readonly inspection: Inspection | null;
  readonly fault: Error | null;
  /** The beginning was left out, because the whole is too long. */
  readonly isCut: boolean;
  readonly isBusy: boolean;
  readonly retry: () => void;
}

/** Of a text that is cut to fit: its tokens are not all of one length, and a template's are added. */
const MARGIN = 0.9;

interface Found {
  /** What was asked, to know it again. */
  readonly key: string;
  readonly subject: Subject;
  readonly inspection: Inspection;
  readonly isCut: boolean;
}

export function useInspection(subject: Subject, layer: number): Looking {
  const key = JSON.stringify([subject.model, subject.messages]);
  const [found, setFound] = useState<Found | null>(null);
  const [fault, setFault] = useState<Error | null>(null);
  const [nTries, setTries] = useState(0);
  const known = found?.key === key ? found : null;
  const isThere = known?.inspection.layers.has(layer) ?? false;
  useEffect(() => {
    if (isThere) return;
    const controller = new AbortController();
    setFault(null);
    ask(key, subject, layer, known, controller.signal).then(setFound, (error) => {
      if (!controller.signal.aborted) setFault(error);
    });
    return () => controller.abort();
  }, [key, layer, isThere, nTries]);
  return {
    inspection: (known ?? found)?.inspection ?? null,
    isCut: (known ?? found)?.isCut ?? false,
    fault,
    isBusy: !isThere && fault === null,
    retry: () => setTries(nTries + 1),
  };
}

async function ask(
  key: string, subject: Subject, layer: number, known: Found | null, signal: AbortSignal,
): Promise<Found> {
  if (known) {
    return { ...known, inspection: await inspect(known.subject, layer, known.inspection, signal) };
  }
  for (let messages = subject.messages; ; ) {
    try {
      const asked = { ...subject, messages };
      const isCut = messages !== subject.messages;
      return { key, subject: asked, inspection: await inspect(asked, layer, null, signal), isCut };
    } catch (error) {
      messages = shorter(messages, excess(error));
    }
  }
}

/** How many times too long a text is, as the server says. Throws any other error again. */
function excess(error: unknown): number {
  const told = /at most (\d+) tokens to be inspected, got (\d+)/.exec((error as Error).message);
  if (!(error instanceof ApiError) || !told) throw error;
  return Number(told[2]) / Number(told[1]);
}

/** Leaves out the oldest question with its answer; of a single question, its beginning. */
function shorter(messages: readonly Message[], times: number): readonly Message[] {
  const begin = messages[0]?.role === "system" ? 1 : 0;
  const next = messages.findIndex(({ role }, index) => index > begin && role === "user");
  if (next > 0) return [...messages.slice(0, begin), ...messages.slice(next)];
  return messages.map(({ role, content }) => ({ role, content: content.slice(content.length - Math.floor((content.length / times) * MARGIN)) }));
}
