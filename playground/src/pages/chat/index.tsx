/** Conversations with a model: the list, the turns, the settings. */
import { signal } from "@preact/signals";
import { Code, PanelLeft, SlidersHorizontal, SquarePen } from "lucide";
import { useEffect, useLayoutEffect } from "preact/hooks";
import { isAnswering, stop } from "../../conversations/answering";
import { current, currentId, isForgetful, isRead } from "../../conversations/store";
import type { Route } from "../../router";
import { offer } from "../../shortcuts";
import { IconButton } from "../../ui/button";
import { Dialog } from "../../ui/dialog";
import { useMedia } from "../../ui/use-media";
import { opened, sendHere, startNew } from "./acts";
import { CodeDialog, shownCode, showCode } from "./code-dialog";
import { Composer, focusComposer } from "./composer";
import { ConversationList } from "./conversation-list";
import { Empty } from "./empty";
import { ModelPicker } from "./model-picker";
import { SettingsPanel } from "./settings-panel";
import { Turns } from "./turns";

const areSettingsShown = signal(true);

export default function Chat({ route }: { route: Route }) {
  const wanted = route.query.get("c");
  useLayoutEffect(() => {
    currentId.value = wanted;
  }, [wanted]);
  const hasList = useMedia("(min-width: 60rem)");
  const hasSettings = useMedia("(min-width: 80rem)");
  const toggleSettings = () => {
    if (hasSettings) areSettingsShown.value = !areSettingsShown.value;
    else opened.value = opened.value === "settings" ? null : "settings";
  };
  useEffect(
    () =>
      offer([
        { key: "/", label: "Write", run: focusComposer },
        { key: "n", label: "New conversation", run: startNew },
        { key: "c", label: "Show the request as code", run: () => showCode() },
        { key: "s", label: "Settings", run: toggleSettings },
      ]),
    [hasSettings],
  );
  useStopKey();
  const conversation = current.value;
  const close = () => (opened.value = null);
  if (!isRead.value) return null;
  return (
    <div class={`chat ${hasSettings && areSettingsShown.value ? "with-settings" : ""}`}>
      {hasList && <aside class="chat-list" aria-label="Conversations"><ConversationList onChoose={close} /></aside>}
      <section class="chat-middle" aria-label="Conversation">
        <header class="chat-head">
          {!hasList && <IconButton icon={PanelLeft} label="Conversations" onClick={() => (opened.value = "list")} />}
          <ModelPicker />
          <div class="chat-head-end">
            {!hasList && <IconButton icon={SquarePen} label="New conversation" onClick={startNew} />}
            <IconButton icon={Code} label="Show the request as code" onClick={() => showCode()} />
            <IconButton icon={SlidersHorizontal} label="Settings" aria-expanded={hasSettings ? areSettingsShown.value : opened.value === "settings"} onClick={toggleSettings} />
          </div>
        </header>
        {isForgetful.value && <p class="notice">This browser keeps nothing for this page: conversations are gone when it is closed.</p>}
        {conversation ? <Turns key={conversation.id} conversation={conversation} /> : <Empty />}
        <Composer key={conversation?.id ?? "new"} isAnswering={isAnswering(conversation?.id)} onSend={(text) => void sendHere(text)} onStop={() => conversation && stop(conversation.id)} />
      </section>
      {hasSettings && areSettingsShown.value && <aside class="chat-settings" aria-label="Settings"><SettingsPanel /></aside>}
      {opened.value === "list" && <Dialog title="Conversations" side="left" onClose={close}><ConversationList onChoose={close} /></Dialog>}
      {opened.value === "settings" && <Dialog title="Settings" side="right" onClose={close}><SettingsPanel /></Dialog>}
      {shownCode.value && <CodeDialog />}
    </div>
  );
}

/** Esc stops an answer, unless it closes a window. */
function useStopKey(): void {
  useEffect(() => {
    const press = ({ key }: KeyboardEvent) => {
      const { value } = current;
      if (key === "Escape" && value && !document.querySelector("dialog[open]")) stop(value.id);
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
}
