/** What a conversation is. All of it is immutable; the store replaces what changes. */

/** The sampling fields of the API, by its names. One that is absent is not sent. */
export interface Params {
  readonly max_tokens?: number;
  readonly temperature?: number;
  readonly top_p?: number;
  readonly top_k?: number;
  readonly seed?: number;
  readonly repetition_penalty?: number;
  readonly frequency_penalty?: number;
  readonly presence_penalty?: number;
  readonly stop?: readonly string[];
}

/** Whom to ask, and how. */
export interface Settings {
  readonly model: string;
  readonly system: string;
  readonly params: Params;
}

export interface Question {
  readonly role: "user";
  readonly id: string;
  readonly text: string;
}

export interface Usage {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly outputTokens: number;
  readonly neurons: number | null;
}

export interface Fault {
  /** 0: the server was not reached, or the answer broke off. */
  readonly status: number;
  readonly code: number | null;
  readonly message: string;
  /** When it may go better, in milliseconds since 1970. */
  readonly retryAt: number | null;
}

/**
 * `asking`: nothing has come yet; `waiting`: refused, and will be asked again at `fault.retryAt`;
 * `stopped`: by the reader, or because the page was closed.
 */
export type AnswerState = "asking" | "waiting" | "writing" | "done" | "stopped" | "failed";

export interface Answer {
  readonly role: "assistant";
  readonly id: string;
  readonly text: string;
  readonly state: AnswerState;
  /** The settings it was asked with. */
  readonly asked: Settings;
  readonly requestId?: string;
  /** The model that answered in the place of the one that was asked. */
  readonly standIn?: string;
  readonly usage?: Usage;
  /** Seconds from the request to the first text. */
  readonly ttftS?: number;
  /** Output tokens per second after the first one. */
  readonly tokensPerS?: number;
  readonly fault?: Fault | undefined;
}

export type Turn = Question | Answer;

export interface Conversation {
  readonly id: string;
  readonly accountId: string;
  /** Chosen by the reader; without it, the beginning of the first question. */
  readonly name?: string;
  readonly createdAt: number;
  readonly changedAt: number;
  readonly settings: Settings;
  readonly turns: readonly Turn[];
}

const TITLE_LENGTH = 60;

export function titleOf({ name, turns }: Conversation): string {
  const text = (name ?? turns[0]?.text ?? "").trim().replace(/\s+/g, " ");
  if (!text) return "New conversation";
  return text.length > TITLE_LENGTH ? `${text.slice(0, TITLE_LENGTH).trimEnd()}…` : text;
}

export function isLive({ state }: Answer): boolean {
  return state === "asking" || state === "waiting" || state === "writing";
}

/** The turns before one. */
export function before({ turns }: Conversation, id: string): readonly Turn[] {
  return turns.slice(0, turns.findIndex((turn) => turn.id === id));
}

export function question(text: string): Question {
  return { role: "user", id: crypto.randomUUID(), text };
}
