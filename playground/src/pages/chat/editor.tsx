/** A turn's text, to be changed in its place. */
import { useEffect, useRef } from "preact/hooks";

export function Editor({ text, label, action, onSave, onCancel }: {
  text: string;
  label: string;
  action: string;
  onSave: (text: string) => void;
  onCancel: () => void;
}) {
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    area.current!.focus();
    area.current!.setSelectionRange(text.length, text.length);
  }, []);
  const save = (event: Event) => {
    event.preventDefault();
    const changed = area.current!.value.trim();
    if (changed) onSave(changed);
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === "Escape") onCancel();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save(event);
  };
  return (
    <form class="editor" onSubmit={save}>
      <textarea ref={area} aria-label={label} onKeyDown={press}>{text}</textarea>
      <div class="row-end">
        <button type="button" class="button small ghost" onClick={onCancel}>Cancel</button>
        <button class="button small primary">{action}</button>
      </div>
    </form>
  );
}
