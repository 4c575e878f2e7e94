/** What screen readers are told while the page changes. */
import { signal } from "@preact/signals";

const said = signal("");

/** Says a text, after what is being said. */
export function announce(text: string): void {
  // The same text twice is no change, so that a space makes it one.
  said.value = said.peek() === text ? `${text} ` : text;
}

export function Announcer() {
  return <div class="visually-hidden" role="status" aria-live="polite">{said.value}</div>;
}
