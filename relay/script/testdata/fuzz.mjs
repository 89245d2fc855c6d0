// Runs the relays' scripts on what FuzzScripts sends: a line of JSON for each request,
// and one back for what became of it.
//
//   node fuzz.mjs CODE_GS WORKER_JS

import { createHash, webcrypto } from "node:crypto";
import fs from "node:fs";
import readline from "node:readline";
import vm from "node:vm";

const [code, worker] = process.argv.slice(2).map((file) => fs.readFileSync(file, "utf8"));
let at, fetches; // the request at hand, and what was fetched for it

class TextOutput {
  constructor(text) {
    this.text = String(text);
  }
  setMimeType() {
    return this;
  }
}

const google = vm.createContext({
  ContentService: { MimeType: { JSON: {} }, createTextOutput: (text) => new TextOutput(text) },
  Utilities: {
    DigestAlgorithm: { SHA_256: "sha256" }, Charset: { UTF_8: "utf8" },
    computeDigest: (algorithm, text, charset) => [...new Int8Array(createHash(algorithm).update(text, charset).digest())],
  },
  UrlFetchApp: {
    fetch(url, options) {
      fetches.push({ url, payload: options.payload, careful: options.muteHttpExceptions && !options.followRedirects && options.validateHttpsCertificates });
      if (at.fails) {
        throw new Error("Address unavailable: " + url);
      }
      return { getResponseCode: () => at.status, getContentText: () => at.answer };
    },
  },
});
vm.runInContext(code, google);

webcrypto.subtle.timingSafeEqual = (a, b) => Buffer.from(a).equals(Buffer.from(b));
const cloudflare = vm.createContext({
  Request, Response, Headers, URL, TextEncoder, crypto: webcrypto,
  async fetch(url, options) {
    fetches.push({ url, headers: [...options.headers], careful: options.redirect === "manual" });
    if (at.fails) {
      throw new TypeError("fetch failed");
    }
    const status = 200 + Math.abs(at.status) % 400;
    return new Response([204, 205, 304].includes(status) ? null : at.answer, { status, headers: { "Set-Cookie": "a=b", "Content-Type": "text/x" } });
  },
});
vm.runInContext(worker.replace("export default", "globalThis.main ="), cloudflare);

function runScript() {
  fetches = [];
  try {
    const result = google.doPost({ postData: { contents: at.contents } });
    return { text: result?.text, fetches };
  } catch (error) {
    return { threw: String(error), fetches };
  }
}

async function runWorker() {
  fetches = [];
  let request;
  try {
    request = new Request("https://worker.example" + at.path, { method: at.method, headers: { Authorization: at.authorization, Cookie: "c=d" }, body: at.method === "POST" ? at.contents : undefined });
  } catch {
    return { skipped: true, fetches };
  }
  try {
    const response = await cloudflare.main.fetch(request);
    return { path: new URL(request.url).pathname, shown: request.headers.get("Authorization"), status: response.status, headers: [...response.headers], text: await response.text(), fetches };
  } catch (error) {
    return { threw: String(error), fetches };
  }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  at = JSON.parse(line);
  process.stdout.write(JSON.stringify({ script: runScript(), worker: await runWorker() }) + "\n");
}
