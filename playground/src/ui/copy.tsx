/** Copies a text, and says so for a moment. */
import { Check, Copy } from "lucide";
import { useEffect, useState } from "preact/hooks";
import { announce } from "./announce";
import { Icon } from "./icon";

const SHOWN_MS = 1600;

export function CopyButton({ text, label = "Copy", quiet = false }: {
  text: () => string;
  label?: string;
  /** An icon alone. */
  quiet?: boolean;
}) {
  const [isCopied, setCopied] = useState(false);
  useEffect(() => {
    if (!isCopied) return;
    const timer = setTimeout(() => setCopied(false), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [isCopied]);
  const copy = async () => {
    const done = await copyText(text());
    announce(done ? "Copied" : "This browser does not let a page copy");
    setCopied(done);
  };
  return (
    <button type="button" class={quiet ? "icon-button" : "button ghost small"} onClick={copy} aria-label={label} title={label}>
      <Icon of={isCopied ? Check : Copy} size={15} />
      {!quiet && <span aria-hidden="true">{isCopied ? "Copied" : label}</span>}
    </button>
  );
}

/** Browsers give `navigator.clipboard` to pages on https and on this machine's own address alone. */
async function copyText(text: string): Promise<boolean> {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(() => true, () => false);
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}
