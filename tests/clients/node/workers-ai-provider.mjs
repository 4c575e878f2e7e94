// The AI SDK with Cloudflare's provider, in the mode that asks by REST. It knows the public
// address only, so its requests are sent elsewhere on their way.

import { generateText, streamText } from "ai";
import { createWorkersAI } from "workers-ai-provider";

import { accountId, all, apiToken, base, maxTokens, model, prompt, report, thrownBy, unknownModel } from "./asked.mjs";

const PUBLIC = "https://api.cloudflare.com/client/v4";

/** Fetch from our server what was meant for the public one, and nothing else. */
function fetchHere(url, options) {
  if (!url.startsWith(PUBLIC)) throw new Error(`nobody expected ${url}`);
  return fetch(base + url.slice(PUBLIC.length), options);
}

const workersai = createWorkersAI({ accountId, apiKey: apiToken, fetch: fetchHere });
const question = { prompt, maxOutputTokens: maxTokens, temperature: 0, maxRetries: 0 };

const plain = await generateText({ model: workersai(model), ...question });
const stream = streamText({ model: workersai(model), ...question });
const pieces = await all(stream.textStream);
const refused = await thrownBy(generateText({ model: workersai(unknownModel), ...question }));

report({
  text: plain.text,
  usage: { completion_tokens: plain.usage.outputTokens },
  streamed: pieces.join(""),
  n_pieces: pieces.length,
  streamed_finish_reason: await stream.finishReason,
  streamed_usage: { completion_tokens: (await stream.usage).outputTokens },
  refusal: {
    class: refused.constructor.name,
    status: refused.statusCode,
    codes: JSON.parse(refused.responseBody).errors.map((error) => error.code),
  },
});
