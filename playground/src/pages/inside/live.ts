/** The blocks of a running answer, asked for again and again while it runs. */
import { accountPath, ApiError, events, getResult, post } from "../../api";
import { settings } from "../../conversations/store";
import type { Subject } from "./subject";

export interface Block {
  readonly id: number;
  /** Positions of it that hold keys and values. */
  readonly filled: number;
  /** It was found in the prefix cache. */
  readonly cached: boolean;
}

/** The blocks at one moment. */
export interface Frame {
  readonly blockSize: number;
  readonly nPromptTokens: number;
  readonly nTokens: number;
  readonly nGivenBack: number;
  readonly blocks: readonly Block[];
  readonly pool: Pool;
}

export interface Pool {
  readonly n_blocks: number;
  readonly free: number;
  readonly idle: number;
  readonly held: number;
}

interface View {
  readonly block_size: number;
  readonly pool: Pool;
  readonly answers: readonly {
    readonly prompt_tokens: number;
    readonly computed: number;
    readonly given_back: number;
    readonly blocks: readonly Block[];
  }[];
}

const EVERY_MS = 60;
const GONE = 404;

/** Gives the blocks of an answer until it is over. */
export async function* frames(requestId: string, signal: AbortSignal): AsyncGenerator<Frame> {
  while (!signal.aborted) {
    const view = await look(requestId);
    if (!view) return;
    yield view;
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

async function look(requestId: string): Promise<Frame | null> {
  try {
    const view = await getResult<View>(accountPath(`ai/inspect/requests/${requestId}`));
    const answer = view.answers[0]!;
    return {
      blockSize: view.block_size,
      nPromptTokens: answer.prompt_tokens,
      nTokens: answer.computed,
      nGivenBack: answer.given_back,
      blocks: answer.blocks,
      pool: view.pool,
    };
  } catch (error) {
    if (error instanceof ApiError && error.status === GONE) return null;
    throw error;
  }
}

/** Lets the model answer, without keeping it in the conversation. Throws ApiError. */
export async function answer(
  subject: Subject,
  on: { begun: (requestId: string) => void; text: (piece: string) => void },
  signal: AbortSignal,
): Promise<void> {
  const { params } = settings.peek();
  const body = { ...params, messages: subject.messages, stream: true };
  const response = await post(accountPath(`ai/run/${subject.model}`), body, signal);
  on.begun(response.headers.get("cf-ai-req-id")!);
  for await (const event of events(response)) on.text((event as { response: string }).response);
}
