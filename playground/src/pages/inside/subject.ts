/** The text that is looked into: the conversation at hand, or an example that is long enough. */
import { computed, signal } from "@preact/signals";
import { type Answer, isLive } from "../../conversations/conversation";
import { bodyOf, type Message } from "../../conversations/request";
import { current, settings } from "../../conversations/store";

export interface Subject {
  readonly model: string;
  /** A last message of the assistant is an answer that was given. */
  readonly messages: readonly Message[];
  readonly isExample: boolean;
}

/** Longer than the embedded model's window of 256 tokens, so that its edge is seen. */
const EXAMPLE = `Here are some notes. Grouped-query attention splits the query heads into groups. \
All heads of a group share one key head and one value head, so the cache of keys and values is \
smaller. Multi-head attention gives every query head its own key head and value head. Multi-query \
attention has one key head and one value head for all query heads. The cache keeps the key and the \
value of every token, so that they are not computed again. Sliding-window attention lets a token \
see only the last tokens, for example 256 of them. What lies further back cannot be seen any more \
in this layer, so its keys and values are not needed, and the memory is given back. Layers are \
stacked: what a token saw in one layer, it carries into the next, so that something of a far token \
still arrives. The cache is kept in blocks of 16 tokens. A block that lies behind the window goes \
back to the pool, and another answer may take it. When two questions begin with the same words, \
the blocks of that beginning are found in the prefix cache, and are not computed again. With \
groups the cache is smaller, and with a window it stops growing. A head is one way to look: one \
head looks at the word before, another at words that look alike, another at the first token, \
where it rests when there is nothing to find. How much a token looks at each of the others are \
shares that add up to one. A layer has several heads, and a model has several layers, so every \
token is read again and again, each time with what was learned before. So many people can ask at the \
same time, and nobody has to wait for long.`;
const EXAMPLE_QUESTION = "Explain sliding-window attention step by step.";

/** Whether the example was asked for although there is a conversation. */
export const wantsExample = signal(false);

export const hasConversation = computed(() => (current.value?.turns.length ?? 0) > 0);

export const subject = computed<Subject>(() => {
  const { model } = settings.value;
  if (!hasConversation.value || wantsExample.value) {
    const content = `${EXAMPLE}\n\n${EXAMPLE_QUESTION}`;
    return { model, messages: [{ role: "user", content }], isExample: true };
  }
  // An answer that is being written would be a new text some times a second.
  const turns = current.value!.turns.filter((turn) => turn.role === "user" || !isLive(turn));
  const { messages } = bodyOf(settings.value, turns);
  return { model, messages, isExample: false };
});

/** Without the answer that was given last: what is asked when it is to be answered again. */
export function question(messages: readonly Message[]): readonly Message[] {
  return messages.at(-1)?.role === "assistant" ? messages.slice(0, -1) : messages;
}

/** The request that is answered now in the conversation at hand, wherever it was begun. */
export const liveRequestId = computed<string | null>(() => {
  const last = current.value?.turns.at(-1);
  const isWritten = last?.role === "assistant" && last.state === "writing";
  return isWritten ? ((last as Answer).requestId ?? null) : null;
});
