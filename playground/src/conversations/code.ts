/** A request as code that can be run: the same body, in four languages. */
import { API_PREFIX } from "../api";
import { type Body, runPath } from "./request";

export interface Asked {
  /** The server: `http://127.0.0.1:8787`. */
  readonly origin: string;
  readonly accountId: string;
  /** Null leaves it to the environment, so that code can be shown to others. */
  readonly apiToken: string | null;
  readonly model: string;
  readonly body: Body;
}

export interface Form {
  readonly id: string;
  readonly label: string;
  readonly language: string;
  readonly write: (asked: Asked) => string;
  /** How to run it. */
  readonly note: string;
}

export const FORMS: readonly Form[] = [
  { id: "curl", label: "curl", language: "bash", write: curl, note: "In a shell." },
  { id: "python", label: "Python", language: "python", write: python, note: "Where the package sirocco is installed." },
  { id: "javascript", label: "JavaScript", language: "javascript", write: javascript, note: "As a module: node ask.mjs." },
  { id: "worker", label: "Worker", language: "javascript", write: worker, note: "sirocco worker dev script.js runs it, with env.AI answered by this server." },
];

const VARIABLE = "SIROCCO_API_TOKEN";

function address({ origin, accountId, model }: Asked): string {
  return `${origin}${API_PREFIX}/accounts/${accountId}/${runPath(model)}`;
}

function curl(asked: Asked): string {
  return [
    `curl -N ${address(asked)} \\`,
    `  -H "Authorization: Bearer ${asked.apiToken ?? `$${VARIABLE}`}" \\`,
    `  -H "Content-Type: application/json" \\`,
    `  -d '${json(asked.body).replaceAll("'", `'\\''`)}'`,
  ].join("\n");
}

function python({ origin, accountId, apiToken, model, body }: Asked): string {
  const secret = apiToken === null ? "" : `, api_token=${json(apiToken)}`;
  return [
    "from sirocco import AI",
    "",
    `ai = AI(${json(origin)}, account_id=${json(accountId)}${secret})`,
    `with ai.run(${json(model)}, ${literal(body)}) as events:`,
    "    for event in events:",
    `        print(event["response"], end="", flush=True)`,
  ].join("\n");
}

function javascript(asked: Asked): string {
  const secret = asked.apiToken ?? `\${process.env.${VARIABLE}}`;
  return [
    `const response = await fetch(${json(address(asked))}, {`,
    `  method: "POST",`,
    `  headers: { Authorization: \`Bearer ${secret}\`, "Content-Type": "application/json" },`,
    `  body: JSON.stringify(${indented(json(asked.body), "  ")}),`,
    "});",
    "for await (const events of response.body.pipeThrough(new TextDecoderStream())) {",
    "  process.stdout.write(events);",
    "}",
  ].join("\n");
}

function worker({ model, body }: Asked): string {
  return [
    "export default {",
    "  async fetch(request, env) {",
    `    const events = await env.AI.run(${json(model)}, ${indented(json(body), "    ")});`,
    `    return new Response(events, { headers: { "content-type": "text/event-stream" } });`,
    "  },",
    "};",
  ].join("\n");
}

function json(value: unknown): string {
  return JSON.stringify(value, null, 2);
}

function indented(text: string, by: string): string {
  return text.replaceAll("\n", `\n${by}`);
}

/** JSON as Python writes it; its texts are Python's as they stand. */
function literal(value: unknown, by = ""): string {
  const inner = `${by}    `;
  const inside = (open: string, rows: string[], close: string) =>
    rows.length ? `${open}\n${rows.map((row) => `${inner}${row},\n`).join("")}${by}${close}` : open + close;
  if (Array.isArray(value)) return inside("[", value.map((one) => literal(one, inner)), "]");
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object" || value === null) return json(value);
  const rows = Object.entries(value).map(([name, one]) => `${json(name)}: ${literal(one, inner)}`);
  return inside("{", rows, "}");
}
