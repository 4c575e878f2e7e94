/** All conversations of this account, newest first, with what can be done to each. */
import { Download, Pencil, SquarePen, Trash2 } from "lucide";
import { useState } from "preact/hooks";
import { isAnswering, stop } from "../../conversations/answering";
import { type Conversation, titleOf } from "../../conversations/conversation";
import { exportConversation } from "../../conversations/export";
import { conversations, currentId, remove, rename } from "../../conversations/store";
import { go, href } from "../../router";
import { IconButton } from "../../ui/button";
import { Dialog } from "../../ui/dialog";
import { Icon } from "../../ui/icon";
import { startNew } from "./acts";

const DAY_MS = 86_400_000;

export function ConversationList({ onChoose }: { onChoose: () => void }) {
  return (
    <div class="conversations">
      <button type="button" class="button new" onClick={startNew}><Icon of={SquarePen} size={16} />New conversation</button>
      {grouped(conversations.value).map(([day, found]) => (
        <section key={day}>
          <h3 class="hint">{day}</h3>
          <ul>{found.map((one) => <Row key={one.id} conversation={one} onChoose={onChoose} />)}</ul>
        </section>
      ))}
      {conversations.value.length === 0 && <p class="hint">What you ask is kept here, in this browser alone.</p>}
    </div>
  );
}

function Row({ conversation, onChoose }: { conversation: Conversation; onChoose: () => void }) {
  const [opened, setOpened] = useState<"rename" | "delete" | null>(null);
  const { id } = conversation;
  const title = titleOf(conversation);
  return (
    <li class="conversation" data-live={isAnswering(id) || undefined}>
      {opened === "rename"
        ? <Rename title={title} onEnd={() => setOpened(null)} onSave={(name) => rename(id, name)} />
        : <a href={href("chat", { c: id })} aria-current={id === currentId.value ? "true" : undefined} onClick={onChoose}>{title}</a>}
      <div class="conversation-actions">
        <IconButton icon={Pencil} size={14} label={`Rename ${title}`} onClick={() => setOpened("rename")} />
        <IconButton icon={Download} size={14} label={`Export ${title}`} onClick={() => exportConversation(conversation)} />
        <IconButton icon={Trash2} size={14} label={`Delete ${title}`} onClick={() => setOpened("delete")} />
      </div>
      {opened === "delete" && <Delete conversation={conversation} onEnd={() => setOpened(null)} />}
    </li>
  );
}

function Rename({ title, onSave, onEnd }: { title: string; onSave: (name: string) => void; onEnd: () => void }) {
  const end = (event: FocusEvent | KeyboardEvent) => {
    if (event instanceof KeyboardEvent && event.key === "Escape") return onEnd();
    if (event instanceof KeyboardEvent && event.key !== "Enter") return;
    onSave((event.currentTarget as HTMLInputElement).value);
    onEnd();
  };
  return <input ref={(input) => input?.select()} aria-label="Name of the conversation" defaultValue={title} onKeyDown={end} onBlur={end} />;
}

function Delete({ conversation, onEnd }: { conversation: Conversation; onEnd: () => void }) {
  const { id } = conversation;
  const sure = () => {
    onEnd();
    stop(id);
    remove(id);
    if (currentId.value === id) go("chat");
  };
  return (
    <Dialog title="Delete this conversation?" onClose={onEnd}>
      <p>“{titleOf(conversation)}” is kept in this browser alone. It cannot be brought back.</p>
      <div class="row-end">
        <button type="button" class="button" autofocus onClick={onEnd}>Keep</button>
        <button type="button" class="button danger" onClick={sure}>Delete</button>
      </div>
    </Dialog>
  );
}

function grouped(found: readonly Conversation[]): [day: string, found: Conversation[]][] {
  const midnight = new Date().setHours(0, 0, 0, 0);
  const groups = new Map<string, Conversation[]>();
  for (const one of found) {
    const day = one.changedAt >= midnight ? "Today" : one.changedAt >= midnight - DAY_MS ? "Yesterday" : "Earlier";
    groups.set(day, [...(groups.get(day) ?? []), one]);
  }
  return [...groups];
}
