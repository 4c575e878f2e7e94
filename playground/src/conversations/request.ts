/** The one body that is sent, and that "show code" writes down. */
import type { Params, Settings, Turn } from "./conversation";

export interface Message {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

export interface Body extends Params {
  readonly messages: readonly Message[];
  readonly stream: true;
}

/** What is asked after these turns. An answer without a text is left out. */
export function bodyOf({ system, params }: Settings, turns: readonly Turn[]): Body {
  const messages: Message[] = turns
    .filter(({ text }) => text)
    .map(({ role, text }) => ({ role, content: text }));
  if (system.trim()) messages.unshift({ role: "system", content: system });
  return { messages, stream: true, ...params };
}

export function runPath(model: string): string {
  return `ai/run/${model}`;
}
