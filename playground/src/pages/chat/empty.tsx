/** What stands in the place of a conversation that has not begun. */
import { loadModels, modelsError } from "../../models";
import { sendHere } from "./acts";

const SUGGESTIONS = [
  "What is grouped-query attention?",
  "Why does a sliding window save memory?",
  "Tell me a story about a small boat.",
  "How do I run a Worker script here?",
];

export function Empty() {
  return (
    <div class="turns empty">
      <h1>What would you like to ask?</h1>
      {modelsError.value && (
        <p class="fault" role="alert">
          The models could not be listed: {modelsError.value.message}{" "}
          <button type="button" class="button small" onClick={() => void loadModels()}>Try again</button>
        </p>
      )}
      <ul class="suggestions">
        {SUGGESTIONS.map((text) => (
          <li key={text}><button type="button" onClick={() => void sendHere(text)}>{text}</button></li>
        ))}
      </ul>
      <p class="hint"><kbd>/</kbd> to write, <kbd>?</kbd> for all keys. Conversations stay in this browser.</p>
    </div>
  );
}
