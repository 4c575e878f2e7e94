/** The turns of a conversation. The end stays in view while an answer grows, if it was in view. */
import { ArrowDown } from "lucide";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Conversation } from "../../conversations/conversation";
import { IconButton } from "../../ui/button";
import { AnswerTurn } from "./answer-turn";
import { QuestionTurn } from "./question-turn";

const NEAR_PX = 48;

export function Turns({ conversation }: { conversation: Conversation }) {
  const frame = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  const [isAway, setAway] = useState(false);
  const last = conversation.turns.at(-1);
  const look = () => {
    const { scrollHeight, scrollTop, clientHeight } = frame.current!;
    follows.current = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    setAway(!follows.current);
  };
  const toEnd = () => frame.current!.scrollTo({ top: frame.current!.scrollHeight });
  useLayoutEffect(() => {
    if (follows.current) toEnd();
  }, [last]);
  useLayoutEffect(() => {
    follows.current = true;
    toEnd();
  }, [conversation.turns.length]);
  return (
    <div class="turns-frame">
      <div class="turns-scroll" ref={frame} onScroll={look} tabIndex={0} role="group" aria-label="Messages">
        <div class="turns">
          {conversation.turns.map((turn) =>
            turn.role === "user"
              ? <QuestionTurn key={turn.id} conversation={conversation} turn={turn} />
              : <AnswerTurn key={turn.id} conversation={conversation} turn={turn} isLast={turn === last} />,
          )}
        </div>
      </div>
      {isAway && <IconButton class="to-end" icon={ArrowDown} label="To the end" onClick={toEnd} />}
    </div>
  );
}
