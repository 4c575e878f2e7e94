/** A modal window: in the middle, or at a side. Esc and a click beside it close it. */
import { X } from "lucide";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { IconButton } from "./button";

export function Dialog({ title, side, isWide = false, onClose, children }: {
  title: string;
  side?: "left" | "right";
  isWide?: boolean;
  onClose: () => void;
  children: ComponentChildren;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const opened = dialog.current!;
    opened.showModal();
    return () => opened.close();
  }, []);
  const closeBeside = (event: MouseEvent) => {
    if (event.target === dialog.current) onClose();
  };
  return (
    <dialog ref={dialog} class={`dialog ${side ?? "middle"} ${isWide ? "wide" : ""}`} aria-label={title} onClose={onClose} onMouseDown={closeBeside}>
      <div class="dialog-inner">
        <header class="dialog-head">
          <h2>{title}</h2>
          <IconButton icon={X} label="Close" onClick={onClose} />
        </header>
        <div class="dialog-body">{children}</div>
      </div>
    </dialog>
  );
}
