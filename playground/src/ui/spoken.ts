/** Gives a growing text to screen readers in whole sentences, not letter by letter. */

const PAUSE_MS = 1500;
const SENTENCES = /^[\s\S]*[.!?:\n](?=\s|$)/;

export class Spoken {
  private text = "";
  private nSaid = 0;
  private saidMs = performance.now();

  /** The sentences that have been finished since the last ones were given, if it is time. */
  add(text: string): string {
    this.text = text;
    const now = performance.now();
    if (now - this.saidMs < PAUSE_MS) return "";
    const found = SENTENCES.exec(text.slice(this.nSaid))?.[0] ?? "";
    if (found) [this.nSaid, this.saidMs] = [this.nSaid + found.length, now];
    return found;
  }

  /** What has not been given yet. */
  rest(): string {
    const found = this.text.slice(this.nSaid);
    this.nSaid = this.text.length;
    return found;
  }
}
