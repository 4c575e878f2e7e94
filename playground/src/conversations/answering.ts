/** Asks for answers, and writes them into their conversations as they come. */
import { signal } from "@preact/signals";
import { accountPath, ApiError, events, post } from "../api";
import { announce } from "../ui/announce";
import { Spoken } from "../ui/spoken";
import { type Answer, before, type Conversation, type Fault, question, type Turn, type Usage } from "./conversation";
import { type Body, bodyOf, runPath } from "./request";
import { begin, conversationOf, current, update, updateTurn } from "./store";

const MOST_TRIES = 4;
const SHOW_EVERY_MS = 40;
const SHORTEST_S = 0.02;
const LEAVING_MS = 3000;
/** Too many requests in this minute; no place in the queue. */
const WORTH_WAITING = new Set([3021, 3040]);

/** What each conversation that is being answered can be stopped by. */
const running = signal<ReadonlyMap<string, AbortController>>(new Map());

// A page that is left breaks off its requests, in some browsers before it is told that it goes:
// that is no fault of theirs. Where it stays after all, faults are faults again.
let isLeaving = false;
addEventListener("beforeunload", () => {
  isLeaving = true;
  setTimeout(() => (isLeaving = false), LEAVING_MS);
});
addEventListener("pagehide", () => running.peek().forEach((controller) => controller.abort()));

export function isAnswering(id: string | undefined): boolean {
  return id !== undefined && running.value.has(id);
}

/** Asks something in the conversation at hand, or in a new one; gives its id. */
export function send(text: string): string {
  const asked = question(text);
  const { value } = current;
  const conversation = value ?? begin([asked]);
  if (value) update(value.id, (old) => ({ ...old, turns: [...old.turns, asked] }));
  void answer(conversation.id);
  return conversation.id;
}

/** Forgets an answer and what follows it, and asks again. */
export function again(conversation: Conversation, answerId: string): void {
  update(conversation.id, (old) => ({ ...old, turns: before(old, answerId) }));
  void answer(conversation.id);
}

/** Changes a turn. A changed question is asked anew, and what followed it is forgotten. */
export function edit(conversation: Conversation, turn: Turn, text: string): void {
  if (turn.role === "assistant") return updateTurn(conversation.id, turn.id, { text });
  update(conversation.id, (old) => ({ ...old, turns: [...before(old, turn.id), question(text)] }));
  void answer(conversation.id);
}

export function stop(id: string): void {
  running.peek().get(id)?.abort();
}

async function answer(id: string): Promise<void> {
  stop(id);
  const controller = new AbortController();
  running.value = new Map(running.peek()).set(id, controller);
  const { settings: asked, turns } = conversationOf(id)!;
  const made: Answer = { role: "assistant", id: crypto.randomUUID(), text: "", state: "asking", asked };
  update(id, (old) => ({ ...old, turns: [...old.turns, made] }));
  const writer = new Writer(id, made.id);
  try {
    await ask(writer, asked.model, bodyOf(asked, turns), controller.signal);
    writer.end("done");
    writer.speakRest();
  } catch (error) {
    const isStopped = controller.signal.aborted || isLeaving;
    writer.end(isStopped ? "stopped" : "failed", isStopped ? null : error);
  } finally {
    if (running.peek().get(id) === controller) {
      const left = new Map(running.peek());
      left.delete(id);
      running.value = left;
    }
  }
}

async function ask(writer: Writer, model: string, body: Body, signal: AbortSignal): Promise<void> {
  for (let nTries = 1; ; nTries++) {
    try {
      return await askOnce(writer, model, body, signal);
    } catch (error) {
      const { status, code, retryAfterS } = error as ApiError;
      const mayWait = error instanceof ApiError && status === 429 && WORTH_WAITING.has(code ?? 0);
      if (!mayWait || nTries === MOST_TRIES) throw error;
      const waitS = retryAfterS ?? nTries;
      writer.wait(error, waitS);
      await pause(waitS * 1000, signal);
    }
  }
}

async function askOnce(writer: Writer, model: string, body: Body, signal: AbortSignal): Promise<void> {
  writer.start();
  const response = await post(accountPath(runPath(model)), body, signal);
  writer.head(response.headers);
  for await (const event of events(response)) {
    const { response: text, usage } = event as { response: string; usage?: WireUsage };
    if (usage) writer.count(usage);
    else writer.add(text);
  }
}

interface WireUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly prompt_tokens_details?: { readonly cached_tokens: number };
  readonly neurons?: number;
}

/** One answer while it comes: its text is shown some times a second, and its times are taken. */
class Writer {
  private readonly spoken = new Spoken();
  private text = "";
  private shown: ReturnType<typeof setTimeout> | null = null;
  private beganMs = 0;
  private firstMs = 0;
  private lastMs = 0;
  private facts: Partial<Answer> = {};

  constructor(
    private readonly id: string,
    private readonly answerId: string,
  ) {}

  start(): void {
    this.beganMs = performance.now();
    this.show({ state: "asking", fault: undefined });
  }

  wait(error: ApiError, waitS: number): void {
    this.show({ state: "waiting", fault: { ...fault(error), retryAt: Date.now() + waitS * 1000 } });
  }

  head(headers: Headers): void {
    const [requestId, standIn] = [headers.get("cf-ai-req-id"), headers.get("sirocco-stand-in")];
    this.facts = { ...(requestId && { requestId }), ...(standIn && { standIn }) };
    announce("Answering.");
  }

  add(text: string): void {
    this.lastMs = performance.now();
    if (!this.text) {
      this.firstMs = this.lastMs;
      this.facts = { ...this.facts, ttftS: (this.firstMs - this.beganMs) / 1000 };
    }
    this.text += text;
    this.shown ??= setTimeout(() => this.show({ state: "writing" }), SHOW_EVERY_MS);
  }

  count(counted: WireUsage): void {
    const spanS = (this.lastMs - this.firstMs) / 1000;
    const usage: Usage = {
      promptTokens: counted.prompt_tokens,
      cachedTokens: counted.prompt_tokens_details?.cached_tokens ?? 0,
      outputTokens: counted.completion_tokens,
      neurons: counted.neurons ?? null,
    };
    // The first token is there when the time begins. A moment is too short to tell a rate from.
    const tokensPerS = spanS > SHORTEST_S ? (usage.outputTokens - 1) / spanS : null;
    this.facts = { ...this.facts, usage, ...(tokensPerS && { tokensPerS }) };
  }

  end(state: "done" | "stopped" | "failed", error: unknown = null): void {
    this.show(error === null ? { state } : { state, fault: fault(error) });
  }

  speakRest(): void {
    const rest = this.spoken.rest();
    if (rest) announce(rest);
  }

  private show(change: Partial<Answer>): void {
    if (this.shown) clearTimeout(this.shown);
    this.shown = null;
    updateTurn<Answer>(this.id, this.answerId, { text: this.text, ...this.facts, ...change });
    const sentence = this.spoken.add(this.text);
    if (sentence) announce(sentence);
  }
}

function fault(error: unknown): Fault {
  if (!(error instanceof ApiError)) return { status: 0, code: null, message: String(error), retryAt: null };
  const { status, code, message, retryAfterS } = error;
  return { status, code, message, retryAt: retryAfterS === null ? null : Date.now() + retryAfterS * 1000 };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

