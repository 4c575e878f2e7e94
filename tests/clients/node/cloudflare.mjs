// Cloudflare's own package for Node.js.

import Cloudflare from "cloudflare";

import { accountId, all, apiToken, base, maxTokens, model, prompt, report, thrownBy, unknownModel } from "./asked.mjs";

const client = new Cloudflare({ apiToken, baseURL: base, maxRetries: 0 });
const account = { account_id: accountId };
const question = { ...account, prompt, max_tokens: maxTokens, temperature: 0 };

/** Read a stream: its text, and whether it came to its end. */
async function streamed() {
  const response = await client.ai.run(model, { ...question, stream: true }).asResponse();
  const data = (await response.text()).match(/^data: .*$/gm).map((line) => line.slice(6));
  const events = data.filter((event) => event !== "[DONE]").map((event) => JSON.parse(event));
  return [events.map((event) => event.response).join(""), data.at(-1) === "[DONE]"];
}

const plain = await client.ai.run(model, question);
const [text, isWhole] = await streamed();
const refused = await thrownBy(client.ai.run(unknownModel, question));
const names = (items) => items.map((item) => item.name);

report({
  text: plain.response,
  usage: plain.usage,
  streamed: text,
  is_whole: isWhole,
  refusal: {
    class: refused.constructor.name,
    status: refused.status,
    codes: refused.errors.map((error) => error.code),
  },
  models: names(await all(client.ai.models.list(account))),
  mistrals: names(await all(client.ai.models.list({ ...account, author: "mistral", per_page: 1 }))),
  schema: Object.keys(await client.ai.models.schema.get({ ...account, model })).sort(),
  tasks: names(await all(client.ai.tasks.list(account))),
  authors: names(await all(client.ai.authors.list(account))),
  finetunes: await client.ai.finetunes.list(account),
  accounts: (await all(client.accounts.list())).map((item) => item.id),
  memberships: (await all(client.memberships.list())).map((item) => item.account.id),
  verified: (await client.user.tokens.verify()).status,
});
