import { Code, Pencil, RefreshCw } from "lucide";
import { useState } from "preact/hooks";
import { again, edit, isAnswering } from "../../conversations/answering";
import { type Answer, type Conversation, isLive } from "../../conversations/conversation";
import { IconButton } from "../../ui/button";
import { CopyButton } from "../../ui/copy";
import { Markdown } from "../../ui/markdown";
import { showCode } from "./code-dialog";
import { Editor } from "./editor";
import { FaultCard } from "./fault-card";
import { Measures } from "./measures";

export function AnswerTurn({ conversation, turn, isLast }: {
  conversation: Conversation;
  turn: Answer;
  isLast: boolean;
}) {
  const [isEdited, setEdited] = useState(false);
  const retry = () => again(conversation, turn.id);
  const save = (text: string) => {
    edit(conversation, turn, text);
    setEdited(false);
  };
  return (
    <article class={`turn answer ${turn.state}`} aria-label={`Answer of ${turn.standIn ?? turn.asked.model}`} aria-busy={isLive(turn)}>
      {turn.standIn && (
        <p class="stand-in"><b>{turn.standIn}</b> stands in: the weights of {turn.asked.model} are not on this machine.</p>
      )}
      {isEdited
        ? <Editor text={turn.text} label="The answer" action="Save" onCancel={() => setEdited(false)} onSave={save} />
        : <Markdown text={turn.text} />}
      {turn.state === "asking" && <p class="thinking"><span class="visually-hidden">Waiting for the first token</span><i /><i /><i /></p>}
      {turn.fault && turn.state !== "stopped" && <FaultCard fault={turn.fault} state={turn.state} hasText={turn.text !== ""} onRetry={isLast ? retry : null} />}
      {!isLive(turn) && !isEdited && (
        <footer>
          <Measures turn={turn} />
          <div class="turn-actions">
            <CopyButton quiet label="Copy the answer" text={() => turn.text} />
            {!isAnswering(conversation.id) && <IconButton icon={Pencil} size={15} label="Edit the answer" onClick={() => setEdited(true)} />}
            {isLast && <IconButton icon={RefreshCw} size={15} label="Ask again" onClick={retry} />}
            <IconButton icon={Code} size={15} label="This request as code" onClick={() => showCode(turn)} />
          </div>
        </footer>
      )}
    </article>
  );
}
