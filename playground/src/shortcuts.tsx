/** Keys that do something wherever they are pressed, but not while somebody writes. */
import { signal } from "@preact/signals";
import { PAGES } from "./pages";
import { go } from "./router";
import { nextTheme } from "./theme";
import { Dialog } from "./ui/dialog";

export interface Shortcut {
  /** As in `KeyboardEvent.key`. */
  readonly key: string;
  readonly label: string;
  readonly run: () => void;
}

const KEY = "sirocco.no-shortcuts";

export const isHelpOpen = signal(false);
const areOn = signal(localStorage.getItem(KEY) === null);
const ofPage = signal<readonly Shortcut[]>([]);

const everywhere: readonly Shortcut[] = [
  ...PAGES.map(({ id, title }, index) => ({ key: String(index + 1), label: title, run: () => go(id) })),
  { key: "t", label: "Light, dark, or as the system", run: nextTheme },
  { key: "?", label: "These shortcuts", run: () => (isHelpOpen.value = true) },
];

/** Gives a page's own keys, for as long as it is shown: return this from an effect. */
export function offer(shortcuts: readonly Shortcut[]): () => void {
  ofPage.value = shortcuts;
  return () => {
    ofPage.value = [];
  };
}

export function listenToKeys(): () => void {
  const press = (event: KeyboardEvent) => {
    if (!areOn.value || event.ctrlKey || event.metaKey || event.altKey || isBusy(event)) return;
    const found = [...ofPage.value, ...everywhere].find(({ key }) => key === event.key);
    if (!found) return;
    event.preventDefault();
    found.run();
  };
  addEventListener("keydown", press);
  return () => removeEventListener("keydown", press);
}

export function ShortcutsDialog() {
  const turn = ({ currentTarget }: { currentTarget: HTMLInputElement }) => {
    areOn.value = currentTarget.checked;
    if (areOn.value) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, "");
  };
  return (
    <Dialog title="Keyboard shortcuts" onClose={() => (isHelpOpen.value = false)}>
      <dl class="shortcuts">
        {[...ofPage.value, ...everywhere].map(({ key, label }) => (
          <div key={key}><dt><kbd>{key}</kbd></dt><dd>{label}</dd></div>
        ))}
        <div><dt><kbd>Enter</kbd></dt><dd>Send what is written; with Shift, a new line</dd></div>
        <div><dt><kbd>Esc</kbd></dt><dd>Stop an answer; close what is open</dd></div>
      </dl>
      <label class="check"><input type="checkbox" checked={areOn.value} onChange={turn} /> Single keys do something</label>
    </Dialog>
  );
}

function isBusy(event: KeyboardEvent): boolean {
  const target = event.target as HTMLElement;
  const writes = target.closest("input, textarea, select, [contenteditable]");
  return writes !== null || document.querySelector("dialog[open]") !== null;
}
