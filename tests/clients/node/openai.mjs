// OpenAI's own package for Node.js, on the routes in OpenAI's shapes.

import OpenAI from "openai";

import { accountId, all, apiToken, base, maxTokens, model, prompt, report, thrownBy, unknownModel } from "./asked.mjs";

const client = new OpenAI({ apiKey: apiToken, baseURL: `${base}/accounts/${accountId}/ai/v1`, maxRetries: 0 });
const question = { model, messages: [{ role: "user", content: prompt }], max_tokens: maxTokens, temperature: 0 };

const plain = await client.chat.completions.create(question);
const chunks = await all(await client.chat.completions.create({ ...question, stream: true }));
const choices = chunks.flatMap((chunk) => chunk.choices);
const refused = await thrownBy(client.chat.completions.create({ ...question, model: unknownModel }));
const response = await client.responses.create({ model, input: prompt, max_output_tokens: maxTokens, temperature: 0 });

report({
  text: plain.choices[0].message.content,
  finish_reason: plain.choices[0].finish_reason,
  usage: plain.usage,
  streamed: choices.map((choice) => choice.delta.content ?? "").join(""),
  streamed_finish_reason: choices.at(-1).finish_reason,
  streamed_usage: chunks.at(-1).usage,
  refusal: { class: refused.constructor.name, status: refused.status, text: refused.message },
  models: (await all(client.models.list())).map((item) => item.id),
  response: response.output_text,
});
