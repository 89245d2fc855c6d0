// A relay for relaymux, as a Cloudflare Worker (module syntax). It passes requests on to
// the node and the node's answers back, both as they come, and knows nothing of what is
// in them.
//
// To set it up: a new Worker with this as its code. Its address, and PREFIX after it, is
// the url of a [[deployment]].

// What the proxy must show: key of its [[deployment]]. With wire = "json" that is the
// node's key.
const KEY = "PUT-THE-DEPLOYMENT-KEY-HERE";

// The node's address, such as https://node.example.com:8443: a name, with a certificate
// that Cloudflare trusts.
const NODE_URL = "PUT-THE-NODE-ADDRESS-HERE";

// The path that the relay is below, such as "/hidden"; "" is none.
const PREFIX = "PUT-THE-PATH-HERE";

export default {
  async fetch(request) {
    const path = new URL(request.url).pathname;
    const tunnel = ["/tunnel/link", "/tunnel/batch"].find((each) => path === PREFIX + each);
    if (request.method !== "POST" || !tunnel || !(await isKey(request.headers.get("Authorization")))) {
      return nothing(); // a stranger costs the node nothing, and learns nothing of it
    }
    return forward(request, tunnel);
  },
};

// isKey compares digests, in constant time, so that the time tells nothing of the key. A
// Worker whose key has not been filled in lets nobody pass.
async function isKey(authorization) {
  if (authorization === null || KEY === "" || KEY.startsWith("PUT-")) {
    return false;
  }
  const [got, want] = await Promise.all([digest(authorization), digest("Bearer " + KEY)]);
  return crypto.subtle.timingSafeEqual(got, want);
}

function digest(text) {
  return crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
}

// forward passes the request's body on while it comes, and the answer's likewise. The
// key, and whose request it is, go no further.
async function forward(request, path) {
  let answer;
  try {
    answer = await fetch(NODE_URL + path, {
      method: "POST",
      headers: only(request.headers, "Content-Type"),
      body: request.body,
      redirect: "manual",
    });
  } catch {
    return page(502, "502 Bad Gateway");
  }
  const headers = only(answer.headers, "Content-Type", "Retry-After");
  headers.set("Cache-Control", "no-store, no-transform"); // who packs or keeps an answer holds it up
  return new Response(answer.body, { status: answer.status, headers });
}

// only is those of the headers that there are.
function only(headers, ...names) {
  const kept = new Headers();
  for (const name of names) {
    if (headers.has(name)) {
      kept.set(name, headers.get(name));
    }
  }
  return kept;
}

// nothing is what anybody else finds here, whatever they ask for.
function nothing() {
  return page(404, "404 Not Found");
}

function page(status, title) {
  return new Response(`<html><head><title>${title}</title></head><body><h1>${title}</h1></body></html>`, {
    status, headers: { "Content-Type": "text/html; charset=utf-8" },
  });
}
