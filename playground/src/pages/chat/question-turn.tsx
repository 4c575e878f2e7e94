import { Pencil } from "lucide";
import { useState } from "preact/hooks";
import { edit } from "../../conversations/answering";
import type { Conversation, Question } from "../../conversations/conversation";
import { IconButton } from "../../ui/button";
import { CopyButton } from "../../ui/copy";
import { Editor } from "./editor";

export function QuestionTurn({ conversation, turn }: { conversation: Conversation; turn: Question }) {
  const [isEdited, setEdited] = useState(false);
  if (isEdited) {
    return (
      <article class="turn question edited" aria-label="You">
        <Editor text={turn.text} label="Your message" action="Send" onCancel={() => setEdited(false)} onSave={(text) => edit(conversation, turn, text)} />
      </article>
    );
  }
  return (
    <article class="turn question" aria-label="You">
      <p class="bubble">{turn.text}</p>
      <div class="turn-actions">
        <CopyButton quiet label="Copy the message" text={() => turn.text} />
        <IconButton icon={Pencil} size={15} label="Edit the message" onClick={() => setEdited(true)} />
      </div>
    </article>
  );
}
