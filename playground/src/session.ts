/** Who is signed in: an account id and an API token, kept in this browser alone. */
import { signal } from "@preact/signals";

export interface Credentials {
  readonly accountId: string;
  readonly apiToken: string;
}

const KEY = "sirocco.credentials";

export const credentials = signal<Credentials | null>(null);

/** Whether they outlive the tab. */
export const isRemembered = signal(false);

/** Takes up credentials that are kept, unless the address brings others. */
export function restore(): void {
  isRemembered.value = localStorage.getItem(KEY) !== null;
  credentials.value = read(sessionStorage) ?? read(localStorage);
  takeFromAddress();
  // The link may be opened in a window that shows the page already.
  addEventListener("hashchange", takeFromAddress);
}

/**
 * Takes credentials from the address's fragment, as `sirocco serve` prints them. The fragment,
 * which is never sent to the server, is removed at once.
 */
function takeFromAddress(): void {
  const given = new URLSearchParams(location.hash.slice(1));
  const accountId = given.get("account_id");
  const apiToken = given.get("api_token");
  if (apiToken === null) return;
  history.replaceState(null, "", location.pathname);
  if (accountId !== null) signIn({ accountId, apiToken }, isRemembered.value);
}

export function signIn(found: Credentials, remember: boolean): void {
  credentials.value = found;
  keep(remember);
}

/** Keeps the credentials until the tab is closed, or until somebody signs out. */
export function keep(remember: boolean): void {
  isRemembered.value = remember;
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
  const storage = remember ? localStorage : sessionStorage;
  if (credentials.value) storage.setItem(KEY, JSON.stringify(credentials.value));
}

export function signOut(): void {
  credentials.value = null;
  keep(false);
}

function read(storage: Storage): Credentials | null {
  try {
    const { accountId, apiToken } = JSON.parse(storage.getItem(KEY) ?? "{}");
    const isWhole = typeof accountId === "string" && typeof apiToken === "string";
    return isWhole ? { accountId, apiToken } : null;
  } catch {
    return null;
  }
}
