/** The catalogue's models, asked for once per sign-in. */
import { computed, effect, signal } from "@preact/signals";
import { accountPath, type ApiError, getEnvelope } from "./api";
import { credentials } from "./session";

export interface Model {
  readonly id: string;
  readonly description: string;
  readonly isInstalled: boolean;
  /** Tokens; null if it is not known. */
  readonly contextWindow: number | null;
  readonly isFree: boolean;
}

interface Row {
  readonly name: string;
  readonly description: string;
  readonly properties: readonly { property_id: string; value: string }[];
}

const PER_PAGE = 100;

/** Null until they are here. */
export const models = signal<readonly Model[] | null>(null);
export const modelsError = signal<ApiError | null>(null);

/** Which models there are, or that they could not be listed. */
export const areModelsKnown = computed(() => models.value !== null || modelsError.value !== null);

export function modelsKnown(): Promise<void> {
  return new Promise((resolve) => {
    if (areModelsKnown.value) return resolve();
    const end = areModelsKnown.subscribe((areKnown) => {
      if (!areKnown) return;
      end();
      resolve();
    });
  });
}

effect(() => {
  models.value = null;
  if (credentials.value) void loadModels();
});

export async function loadModels(): Promise<void> {
  const asked = credentials.peek();
  modelsError.value = null;
  try {
    const found = await allRows();
    if (asked === credentials.peek()) models.value = found.map(model);
  } catch (error) {
    modelsError.value = error as ApiError;
  }
}

async function allRows(): Promise<Row[]> {
  const rows: Row[] = [];
  for (let page = 1; ; page++) {
    const path = accountPath(`ai/models/search?page=${page}&per_page=${PER_PAGE}`);
    const { result } = await getEnvelope<Row[]>(path);
    rows.push(...result);
    if (result.length < PER_PAGE) return rows;
  }
}

function model({ name, description, properties }: Row): Model {
  const property = new Map(properties.map(({ property_id, value }) => [property_id, value]));
  const contextWindow = property.get("context_window");
  return {
    id: name,
    description,
    isInstalled: property.get("is_installed") === "true",
    contextWindow: contextWindow === undefined ? null : Number(contextWindow),
    isFree: !property.has("output_neurons_per_m_tokens"),
  };
}
