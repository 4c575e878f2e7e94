/** The inspection that is shown: asked anew for another text, and for one more layer when wanted. */
import { useEffect, useState } from "preact/hooks";
import { ApiError } from "../../api";
import type { Message } from "../../conversations/request";
import { inspect, type Inspection } from "./inspection";
import type { Subject } from "./subject";

export interface Looking {
  readonly inspection: Inspection | null;
  readonly fault: Error | null;
  /** Turns at the beginning that were left out, because the whole is too long. */
  readonly nLeftOut: number;
  readonly isBusy: boolean;
  readonly retry: () => void;
}

interface Found {
  /** What was asked, to know it again. */
  readonly key: string;
  readonly subject: Subject;
  readonly inspection: Inspection;
  readonly nLeftOut: number;
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
    nLeftOut: (known ?? found)?.nLeftOut ?? 0,
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
  let [messages, nLeftOut] = [subject.messages, 0];
  for (;;) {
    try {
      const asked = { ...subject, messages };
      return { key, subject: asked, inspection: await inspect(asked, layer, null, signal), nLeftOut };
    } catch (error) {
      const shorter = isTooLong(error) ? withoutFirstTurn(messages) : null;
      if (!shorter) throw error;
      nLeftOut += messages.length - shorter.length;
      messages = shorter;
    }
  }
}

function isTooLong(error: unknown): boolean {
  return error instanceof ApiError && error.message.includes("tokens to be inspected");
}

/** Leaves out the oldest question with its answer; null if there is no other. */
function withoutFirstTurn(messages: readonly Message[]): readonly Message[] | null {
  const begin = messages[0]?.role === "system" ? 1 : 0;
  const next = messages.findIndex(({ role }, index) => index > begin && role === "user");
  return next < 0 ? null : [...messages.slice(0, begin), ...messages.slice(next)];
}
