// Stands before the script, and behind its env.AI: one line for each request that it serves.
// Bodies pass through as they come. The script notices nothing.

import { WorkerEntrypoint } from "cloudflare:workers";

const live = new Set();

export default {
  async fetch(request, env, ctx) {
    const visit = { request, path: new URL(request.url).pathname, began: Date.now(), tokens: "" };
    live.add(visit);
    let response;
    try {
      response = await env.SCRIPT.fetch(request);
    } catch (error) {
      tell(visit, "500, the script failed");
      return new Response(`${error}\n`, { status: 500 });
    }
    if (response.body === null || response.webSocket) {
      tell(visit, response.status);
      return response;
    }
    const pipe = pipeLike(response);
    ctx.waitUntil(
      response.body.pipeTo(pipe.writable).then(
        () => tell(visit, response.status),
        () => tell(visit, `${response.status}, broken off`),
      ),
    );
    return new Response(pipe.readable, response);
  },
};

export class Answers extends WorkerEntrypoint {
  async fetch(request) {
    const { pathname, search } = new URL(request.url);
    const address = this.env.ADDRESS + pathname + search;
    const response = await this.env.SIROCCO.fetch(new Request(address, request));
    const isText = /^(text\/event-stream|application\/json)$/.test(response.headers.get("content-type"));
    if (!response.ok || !isText || response.body === null) return response;
    return new Response(response.body.pipeThrough(countTokens()), response);
  }
}

// A length that the script promised stays promised; all else goes in chunks.
function pipeLike(response) {
  const length = response.headers.get("content-length");
  return length === null ? new IdentityTransformStream() : new FixedLengthStream(BigInt(length));
}

// The counts stand at the end of an answer. They belong to the request that is served, if it is
// the only one: nothing tells which of several has asked.
function countTokens() {
  const decoder = new TextDecoder();
  let end = "";
  return new TransformStream({
    transform(chunk, controller) {
      end = (end + decoder.decode(chunk, { stream: true })).slice(-500);
      controller.enqueue(chunk);
    },
    flush() {
      const counts = /"prompt_tokens":(\d+),"completion_tokens":(\d+)/.exec(end);
      if (counts === null || live.size !== 1) return;
      for (const visit of live) visit.tokens += `, ${counts[1]} + ${counts[2]} tokens`;
    },
  });
}

function tell(visit, status) {
  live.delete(visit);
  const seconds = ((Date.now() - visit.began) / 1000).toFixed(2);
  console.log(`${visit.request.method} ${visit.path} ${status}, ${seconds} s${visit.tokens}`);
}
