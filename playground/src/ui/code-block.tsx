/** Code with its colours, which come when it is whole or stands still, and a button to copy it. */
import { useEffect, useState } from "preact/hooks";
import { CopyButton } from "./copy";

export function CodeBlock({ code, language }: { code: string; language: string }) {
  const coloured = useColours(code, language);
  return (
    <div class="code-block">
      <div class="code-head"><span>{language || "text"}</span><CopyButton quiet label="Copy the code" text={() => code} /></div>
      <pre tabIndex={0}>
        {coloured === null
          ? <code>{code}</code>
          : <code dangerouslySetInnerHTML={{ __html: coloured as unknown as string }} />}
      </pre>
    </div>
  );
}

const STILL_MS = 120;

/** The code in colours as sanitised markup; null before that, and for languages not known. */
function useColours(code: string, language: string): TrustedHTML | null {
  const [found, setFound] = useState<{ code: string; html: TrustedHTML | null } | null>(null);
  useEffect(() => {
    const timer = setTimeout(async () => {
      const { highlight } = await import("./highlight");
      setFound({ code, html: highlight(code, language) });
    }, STILL_MS);
    return () => clearTimeout(timer);
  }, [code, language]);
  return found?.code === code ? found.html : null;
}
