/** The conversations of whoever is signed in, kept in this browser's IndexedDB. */
import { computed, effect, signal } from "@preact/signals";
import { createStore, del, promisifyRequest, values } from "idb-keyval";
import { models } from "../models";
import { credentials } from "../session";
import { type Conversation, isLive, type Settings, type Turn } from "./conversation";

const SAVE_EVERY_MS = 500;
const MODEL_KEY = "sirocco.model";
const EMBEDDED = "@sirocco/breeze-instruct";

const database = createStore("sirocco", "conversations");
const unsaved = new Map<string, ReturnType<typeof setTimeout>>();
const elsewhere = new BroadcastChannel("sirocco.conversations");

const all = signal<ReadonlyMap<string, Conversation>>(new Map());
/** Whether what the browser keeps has been read. */
export const isRead = signal(false);
/** Whether the browser keeps nothing, as in some private windows. */
export const isForgetful = signal(false);

export const currentId = signal<string | null>(null);

/** Newest first. */
export const conversations = computed(() =>
  [...all.value.values()]
    .filter(({ accountId }) => accountId === credentials.value?.accountId)
    .sort((one, other) => other.changedAt - one.changedAt),
);

/** The conversation at hand; null for a new one, of which nothing has been sent. */
export const current = computed(
  () => conversations.value.find(({ id }) => id === currentId.value) ?? null,
);

const chosen = signal<Partial<Settings>>({});

/** Settings of the conversation at hand, new or not. */
export const settings = computed<Settings>(
  () => current.value?.settings ?? { model: preferredModel(), system: "", params: {}, ...chosen.value },
);

export function changeSettings(change: Partial<Settings>): void {
  if (change.model) localStorage.setItem(MODEL_KEY, change.model);
  const { value } = current;
  if (!value) chosen.value = { ...chosen.value, ...change };
  else update(value.id, (old) => ({ ...old, settings: { ...old.settings, ...change } }));
}

export async function readAll(): Promise<void> {
  const beganAt = Date.now();
  try {
    const found = await values<Conversation>(database);
    const meanwhile = [...all.peek()].filter(([, { changedAt }]) => changedAt >= beganAt);
    const read = found.map((one): [string, Conversation] => [one.id, settled(one)]);
    all.value = new Map([...read, ...meanwhile]);
  } catch {
    isForgetful.value = true;
  }
  isRead.value = true;
}

export function conversationOf(id: string): Conversation | undefined {
  return all.peek().get(id);
}

/** Begins a conversation with the settings at hand; it is the one at hand from now on. */
export function begin(turns: readonly Turn[]): Conversation {
  const now = Date.now();
  const made: Conversation = {
    id: crypto.randomUUID(),
    accountId: credentials.peek()!.accountId,
    createdAt: now,
    changedAt: now,
    settings: settings.peek(),
    turns,
  };
  put(made);
  currentId.value = made.id;
  return made;
}

/** Replaces a conversation; one that was deleted meanwhile stays deleted. */
export function update(id: string, change: (old: Conversation) => Conversation): void {
  const old = all.peek().get(id);
  if (old) put({ ...change(old), changedAt: Date.now() });
}

/** Replaces one turn of a conversation. */
export function updateTurn<T extends Turn>(id: string, turnId: string, change: Partial<T>): void {
  update(id, (old) => ({
    ...old,
    turns: old.turns.map((turn) => (turn.id === turnId ? ({ ...turn, ...change } as T) : turn)),
  }));
}

export function rename(id: string, name: string): void {
  update(id, ({ name: _, ...old }) => (name.trim() ? { ...old, name: name.trim() } : old));
}

export function remove(id: string): void {
  const left = new Map(all.peek());
  left.delete(id);
  all.value = left;
  clearTimeout(unsaved.get(id));
  unsaved.delete(id);
  void del(id, database).then(() => elsewhere.postMessage(null), () => undefined);
}

function put(conversation: Conversation): void {
  all.value = new Map(all.peek()).set(conversation.id, conversation);
  const isGrowing = conversation.turns.some((turn) => turn.role === "assistant" && isLive(turn));
  if (!isGrowing) save(conversation.id);
  else if (!unsaved.has(conversation.id)) {
    unsaved.set(conversation.id, setTimeout(() => save(conversation.id), SAVE_EVERY_MS));
  }
}

function save(id: string): void {
  clearTimeout(unsaved.get(id));
  unsaved.delete(id);
  const found = all.peek().get(id);
  if (!found) return;
  const written = database("readwrite", (store) => {
    store.put(found, id);
    store.transaction.commit(); // at once: the page may be about to close
    return promisifyRequest(store.transaction);
  });
  written.then(() => elsewhere.postMessage(null), () => (isForgetful.value = true));
}

/** Ends what a closed page left unfinished. */
function settled(conversation: Conversation): Conversation {
  if (all.peek().has(conversation.id)) {
    const mine = all.peek().get(conversation.id)!;
    if (mine.changedAt >= conversation.changedAt) return mine;
  }
  const turns = conversation.turns.map((turn) =>
    turn.role === "assistant" && isLive(turn) ? { ...turn, state: "stopped" as const } : turn,
  );
  return { ...conversation, turns };
}

/** The one that was used last, else one that is here, a real one rather than the embedded one. */
function preferredModel(): string {
  const known = models.value ?? [];
  const last = localStorage.getItem(MODEL_KEY);
  if (last && known.some(({ id }) => id === last)) return last;
  const here = known.filter(({ isInstalled }) => isInstalled);
  return (here.find(({ id }) => id !== EMBEDDED) ?? here[0] ?? known[0])?.id ?? EMBEDDED;
}

addEventListener("pagehide", () => {
  for (const id of unsaved.keys()) save(id);
});
elsewhere.onmessage = () => {
  if (unsaved.size === 0) void readAll(); // another window has changed something
};
effect(() => {
  if (credentials.value && !isRead.peek()) void readAll();
});
