/** What can be done from several places of the page. */
import { signal } from "@preact/signals";
import { send } from "../../conversations/answering";
import { current } from "../../conversations/store";
import { modelsKnown } from "../../models";
import { go } from "../../router";
import { focusComposer } from "./composer";

/** What is open at a side of a small window. */
export const opened = signal<"list" | "settings" | null>(null);

export function startNew(): void {
  opened.value = null;
  go("chat");
  focusComposer();
}

/** Asks; in a new conversation once it is known which model is to answer. */
export async function sendHere(text: string): Promise<void> {
  const isNew = current.peek() === null;
  if (isNew) await modelsKnown();
  const id = send(text);
  if (isNew) go("chat", { c: id });
}
