/** A conversation as a JSON file: its turns, settings and measures. */
import { type Conversation, titleOf } from "./conversation";

export function exportConversation(conversation: Conversation): void {
  const file = new Blob([JSON.stringify(conversation, null, 2)], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `${fileName(titleOf(conversation))}.json`;
  link.click();
  URL.revokeObjectURL(link.href);
}

function fileName(title: string): string {
  return title.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "conversation";
}
