/** Which model is asked: a list that can be searched, those that are here first. */
import { Check, ChevronDown } from "lucide";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { count } from "../../charts/format";
import { changeSettings, settings } from "../../conversations/store";
import { type Model, models } from "../../models";
import { Dialog } from "../../ui/dialog";
import { Icon } from "../../ui/icon";

export function ModelPicker() {
  const [isOpen, setOpen] = useState(false);
  const { model } = settings.value;
  const name = model.split("/").at(-1);
  return (
    <>
      <button type="button" class="model-button" aria-haspopup="dialog" aria-label={`Model: ${model}`} title={model} onClick={() => setOpen(true)}>
        <span>{name}</span>
        <Icon of={ChevronDown} size={15} />
      </button>
      {isOpen && <Dialog title="Model" onClose={() => setOpen(false)}><ModelList onChoose={() => setOpen(false)} /></Dialog>}
    </>
  );
}

function ModelList({ onChoose }: { onChoose: () => void }) {
  const id = useId();
  const [wanted, setWanted] = useState("");
  const [at, setAt] = useState(0);
  const list = useRef<HTMLDivElement>(null);
  const found = (models.value ?? []).filter((model) => matches(model, wanted));
  const groups = [
    ["On this machine", found.filter(({ isInstalled }) => isInstalled)],
    ["Without weights here: a stand-in answers, or the server says what to pull", found.filter(({ isInstalled }) => !isInstalled)],
  ] as const;
  const ordered = groups.flatMap(([, rows]) => rows);
  const choose = (model: Model | undefined) => {
    if (!model) return;
    changeSettings({ model: model.id });
    onChoose();
  };
  const press = (event: KeyboardEvent) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) setAt(Math.min(ordered.length - 1, Math.max(0, at + by)));
    else if (event.key === "Enter") choose(ordered[at]);
    else return;
    event.preventDefault();
  };
  useEffect(() => {
    list.current?.querySelector("[data-at]")?.scrollIntoView({ block: "nearest" });
  }, [at]);
  return (
    <>
      <input role="combobox" aria-expanded="true" aria-controls={id} aria-activedescendant={ordered[at] && `${id}-${at}`} aria-label="Search models" placeholder="Search" autofocus value={wanted} onKeyDown={press}
        onInput={({ currentTarget }) => {
          setWanted(currentTarget.value);
          setAt(0);
        }} />
      <div id={id} ref={list} class="models" role="listbox" aria-label="Models">
        {groups.map(([title, rows]) => rows.length > 0 && (
          <div key={title} role="group" aria-label={title}>
            <p class="hint">{title}</p>
            {rows.map((model) => {
              const index = ordered.indexOf(model);
              const isChosen = model.id === settings.value.model;
              return (
                <div key={model.id} id={`${id}-${index}`} class="model" role="option" aria-selected={isChosen} data-at={index === at || undefined} onClick={() => choose(model)} onPointerMove={() => setAt(index)}>
                  <span class="model-id">{model.id}{isChosen && <Icon of={Check} size={15} />}{model.contextWindow !== null && <span class="model-window">{count(model.contextWindow)} tokens</span>}</span>
                  <span class="hint">{model.description}</span>
                </div>
              );
            })}
          </div>
        ))}
        {ordered.length === 0 && <p class="hint">{models.value ? "No model has this in its id or description." : "The models are being listed …"}</p>}
      </div>
    </>
  );
}

function matches({ id, description }: Model, wanted: string): boolean {
  return `${id} ${description}`.toLowerCase().includes(wanted.trim().toLowerCase());
}
