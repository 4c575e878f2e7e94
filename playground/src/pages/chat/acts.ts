/** What can be done from several places of the page. */
import { signal } from "@preact/signals";
import { send } from "../../conversations/answering";
import { current } from "../../conversations/store";
import { go } from "../../router";
import { focusComposer } from "./composer";

/** What is open at a side of a small window. */
export const opened = signal<"list" | "settings" | null>(null);

export function startNew(): void {
  opened.value = null;
  go("chat");
  focusComposer();
}

export function sendHere(text: string): void {
  const isNew = current.peek() === null;
  const id = send(text);
  if (isNew) go("chat", { c: id });
}
