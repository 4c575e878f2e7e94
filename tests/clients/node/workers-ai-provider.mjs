// The AI SDK with Cloudflare's provider, in the mode that asks by REST. It knows the public
// address only, so its requests are sent elsewhere on their way.

import { generateText, jsonSchema, Output, streamText, tool } from "ai";
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

const zone = jsonSchema({
  type: "object",
  properties: { zone: { enum: ["UTC", "CET"] } },
  required: ["zone"],
  additionalProperties: false,
});
const now = tool({ description: "Tell the time in a zone", inputSchema: zone, execute: async () => "noon" });
const toCall = { ...question, maxOutputTokens: 300, tools: { now }, toolChoice: "required" };
const called = await generateText({ model: workersai(model), ...toCall });
const calling = streamText({ model: workersai(model), ...toCall });
await calling.consumeStream();
const calls = (made) => made.map((call) => [call.toolName, call.input]);
const json = await generateText({ model: workersai(model), ...question, output: Output.object({ schema: zone }) });

report({
  text: plain.text,
  usage: { completion_tokens: plain.usage.outputTokens },
  streamed: pieces.join(""),
  n_pieces: pieces.length,
  streamed_finish_reason: await stream.finishReason,
  streamed_usage: { completion_tokens: (await stream.usage).outputTokens },
  calls: calls(called.toolCalls),
  streamed_calls: calls(await calling.toolCalls),
  results: called.toolResults.map((result) => result.output),
  json: json.output,
  refusal: {
    class: refused.constructor.name,
    status: refused.statusCode,
    codes: JSON.parse(refused.responseBody).errors.map((error) => error.code),
  },
});
