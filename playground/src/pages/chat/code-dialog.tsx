/** The request of an answer, or the one that would be sent next, as code. */
import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { FORMS } from "../../conversations/code";
import { type Answer, before, type Settings, type Turn } from "../../conversations/conversation";
import { bodyOf } from "../../conversations/request";
import { current, settings } from "../../conversations/store";
import { credentials } from "../../session";
import { CodeBlock } from "../../ui/code-block";
import { Dialog } from "../../ui/dialog";

interface Shown {
  readonly asked: Settings;
  readonly turns: readonly Turn[];
}

export const shownCode = signal<Shown | null>(null);

const EXAMPLE: readonly Turn[] = [{ role: "user", id: "", text: "What is grouped-query attention?" }];

/** Shows an answer's request; without one, that of the conversation's last question. */
export function showCode(answer?: Answer): void {
  const { value } = current;
  if (answer && value) {
    shownCode.value = { asked: answer.asked, turns: before(value, answer.id) };
    return;
  }
  const last = value?.turns.findLastIndex(({ role }) => role === "user") ?? -1;
  const turns = value && last >= 0 ? value.turns.slice(0, last + 1) : EXAMPLE;
  shownCode.value = { asked: settings.value, turns };
}

export function CodeDialog() {
  const [chosen, setChosen] = useState(FORMS[0]!);
  const [isOpen, setOpen] = useState(false);
  const { asked, turns } = shownCode.value!;
  const { accountId, apiToken } = credentials.value!;
  const code = chosen.write({
    origin: location.origin,
    accountId,
    apiToken: isOpen ? apiToken : null,
    model: asked.model,
    body: bodyOf(asked, turns),
  });
  const turn = (event: KeyboardEvent) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    const next = FORMS[(FORMS.indexOf(chosen) + by + FORMS.length) % FORMS.length]!;
    setChosen(next);
    document.getElementById(`form-${next.id}`)?.focus();
  };
  return (
    <Dialog title="This request as code" isWide onClose={() => (shownCode.value = null)}>
      <div class="tabs" role="tablist" aria-label="Language" onKeyDown={turn}>
        {FORMS.map((form) => (
          <button key={form.id} id={`form-${form.id}`} type="button" role="tab" aria-selected={form === chosen} aria-controls="form-code" tabIndex={form === chosen ? 0 : -1} onClick={() => setChosen(form)}>{form.label}</button>
        ))}
      </div>
      <div id="form-code" role="tabpanel" aria-labelledby={`form-${chosen.id}`}><CodeBlock code={code} language={chosen.language} /></div>
      <p class="hint">{chosen.note}</p>
      {chosen.id !== "worker" && (
        <label class="check"><input type="checkbox" checked={isOpen} onChange={({ currentTarget }) => setOpen(currentTarget.checked)} /> With my API token, instead of the variable SIROCCO_API_TOKEN</label>
      )}
    </Dialog>
  );
}
