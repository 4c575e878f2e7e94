// What every client is asked, and how its script reports what it returned.

const variables = process.env;

export const base = variables.CLOUDFLARE_API_BASE_URL;
export const accountId = variables.CLOUDFLARE_ACCOUNT_ID;
export const apiToken = variables.CLOUDFLARE_API_TOKEN;
export const model = variables.MODEL;
export const unknownModel = variables.UNKNOWN_MODEL;
export const prompt = variables.PROMPT;
export const maxTokens = Number(variables.MAX_TOKENS);

/** Give all that an async iterator has. */
export async function all(iterator) {
  const items = [];
  for await (const item of iterator) items.push(item);
  return items;
}

/** Give what a promise is rejected with. */
export async function thrownBy(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("nothing was refused");
}

/** Print one JSON object. */
export function report(returned) {
  process.stdout.write(JSON.stringify(returned));
}
