/** Where the next question is written. Enter sends, Shift and Enter begins a line. */
import { ArrowUp, Square } from "lucide";
import { useEffect, useRef, useState } from "preact/hooks";
import { Icon } from "../../ui/icon";

const ID = "composer";

export function focusComposer(): void {
  document.getElementById(ID)?.focus();
}

export function Composer({ isAnswering, onSend, onStop }: {
  isAnswering: boolean;
  onSend: (text: string) => void;
  onStop: () => void;
}) {
  const [text, setText] = useState("");
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    // Where a finger writes, the focus would open the keyboard over the page.
    if (matchMedia("(hover: hover)").matches) area.current!.focus();
  }, []);
  const submit = (event: Event) => {
    event.preventDefault();
    if (!text.trim() || isAnswering) return;
    setText("");
    onSend(text.trim());
  };
  const press = (event: KeyboardEvent) => {
    // While an input method composes a word, Enter chooses it.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
  };
  return (
    <form class="composer" onSubmit={submit}>
      <label for={ID} class="visually-hidden">Your message</label>
      <textarea ref={area} id={ID} rows={1} value={text} placeholder="Write a message" onInput={({ currentTarget }) => setText(currentTarget.value)} onKeyDown={press} />
      {isAnswering ? (
        <button type="button" class="send" aria-label="Stop" title="Stop (Esc)" onClick={onStop}><Icon of={Square} size={14} /></button>
      ) : (
        <button class="send" aria-label="Send" title="Send (Enter)" disabled={!text.trim()}><Icon of={ArrowUp} /></button>
      )}
    </form>
  );
}
