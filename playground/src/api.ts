/** The server's REST API, asked with the credentials of whoever is signed in. */
import { createParser } from "eventsource-parser";
import { credentials, type Credentials, signOut } from "./session";

export const API_PREFIX = "/client/v4";

/** An answer that is not the one that was asked for. Status 0: the server was not reached. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: number | null = null,
    readonly retryAfterS: number | null = null,
  ) {
    super(message);
  }
}

/** Where something of the account is: `accountPath("ai/models/search")`. */
export function accountPath(path: string, { accountId } = required()): string {
  return `${API_PREFIX}/accounts/${accountId}/${path}`;
}

/** Asks for JSON, and gives the `result` of its envelope. Throws ApiError. */
export async function getResult<T>(path: string, as?: Credentials): Promise<T> {
  return (await getEnvelope<T>(path, as)).result;
}

export interface Envelope<T> {
  readonly result: T;
  readonly result_info?: { readonly total_count: number };
}

export async function getEnvelope<T>(path: string, as = required()): Promise<Envelope<T>> {
  const response = await ask(path, { headers: authorization(as) }, as);
  return (await response.json()) as Envelope<T>;
}

/** Posts JSON; gives the response once its status is good. Throws ApiError. */
export async function post(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  const as = required();
  const headers = { ...authorization(as), "content-type": "application/json" };
  const init: RequestInit = { method: "POST", headers, body: JSON.stringify(body) };
  return ask(path, signal ? { ...init, signal } : init, as);
}

/**
 * Gives the data of each server-sent event up to `[DONE]`.
 * Throws ApiError if the stream tells of a fault, breaks, or ends without `[DONE]`.
 */
export async function* events(response: Response): AsyncGenerator<unknown> {
  const found: string[] = [];
  const parser = createParser({ onEvent: ({ data }) => found.push(data) });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(rethrow);
      if (done) throw new ApiError("The answer broke off before its end.", 0);
      parser.feed(value);
      for (const data of found.splice(0)) {
        if (data === "[DONE]") return;
        const event = JSON.parse(data);
        if (event.success === false) throw fault(event, 0, null);
        yield event;
      }
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}

async function ask(path: string, init: RequestInit, as: Credentials): Promise<Response> {
  const response = await fetch(path, { ...init, cache: "no-store" }).catch(rethrow);
  if (response.ok) return response;
  if (response.status === 401 && as === credentials.peek()) signOut();
  const body = await response.json().catch(() => ({}));
  const retryAfter = Number(response.headers.get("retry-after"));
  throw fault(body, response.status, retryAfter > 0 ? retryAfter : null);
}

function rethrow(error: unknown): never {
  if (error instanceof DOMException && error.name === "AbortError") throw error;
  throw new ApiError("The server cannot be reached. Is it still running?", 0);
}

function fault(body: unknown, status: number, retryAfterS: number | null): ApiError {
  const first = (body as { errors?: { message?: string; code?: number }[] }).errors?.[0];
  return new ApiError(first?.message ?? `HTTP ${status}`, status, first?.code ?? null, retryAfterS);
}

function authorization({ apiToken }: Credentials): Record<string, string> {
  return { authorization: `Bearer ${apiToken}` };
}

function required(): Credentials {
  const found = credentials.peek();
  if (!found) throw new ApiError("Nobody is signed in.", 401);
  return found;
}
