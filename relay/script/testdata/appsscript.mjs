// A web app of Google Apps Script, for tests: serves a script's doPost and doGet as
// Google does, by a redirect to another host for what they return, and by pages.
//
//   node appsscript.mjs SCRIPT PEM ECHO [FETCHES]
//
// SCRIPT is run as it is. PEM holds certificate and key, ECHO is the scheme and host that
// redirects lead to, and FETCHES is how often the script may fetch until its day is over.
// It prints "appsscript HOST:PORT" and serves until it is ended, at $APPSSCRIPT_LISTEN,
// HOST:PORT, or a free port of loopback.

import { randomUUID } from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import { Worker } from "node:worker_threads";

const [script, pem, echo, fetches] = process.argv.slice(2);
const source = fs.readFileSync(script, "utf8");
const LARGEST = 50 << 20; // bytes of a request, an answer and what is fetched
const AT_ONCE = 30;

const idle = []; // threads, each of which runs one execution at a time
const answers = new Map(); // what waits to be fetched by its redirect
let running = 0, fetched = 0;

const server = https.createServer({ key: fs.readFileSync(pem), cert: fs.readFileSync(pem) }, serve);
const [host, port] = (process.env.APPSSCRIPT_LISTEN ?? "127.0.0.1:0").split(":");
server.listen(Number(port), host, () => console.log(`appsscript ${host}:${server.address().port}`));
process.on("SIGTERM", () => process.exit(0));

async function serve(request, response) {
  const url = new URL(request.url, "https://script.google.com");
  if (url.pathname === "/macros/echo" && request.method === "GET") {
    const id = url.searchParams.get("user_content_key"), text = answers.get(id);
    answers.delete(id);
    return text === undefined ? page(response, 404, "Page not found", "Sorry, unable to open the file at this time. Google Docs")
      : response.writeHead(200, { "Content-Type": "application/json; charset=utf-8" }).end(text);
  }
  const handler = { GET: "doGet", POST: "doPost" }[request.method];
  if (!handler || !/^\/macros\/s\/[^/]+\/exec$/.test(url.pathname)) {
    return page(response, 404, "Page not found", "Sorry, unable to open the file at this time. Google Docs");
  }
  const contents = (await read(request, LARGEST)).toString("utf8");
  if (running >= AT_ONCE) {
    return page(response, 429, "Error 429", "Too many simultaneous invocations");
  }
  running++;
  const result = await execute(handler, { postData: { contents, length: contents.length, type: request.headers["content-type"] } });
  running--;
  answer(response, result);
}

// answer is what Google makes of what a function returned or threw.
function answer(response, { text, threw }) {
  if (threw !== undefined) {
    return page(response, 200, "Error", threw);
  }
  if (text === undefined) {
    return page(response, 200, "Web App", "The script completed but did not return anything.", "p");
  }
  const id = randomUUID();
  answers.set(id, Buffer.from(text).subarray(0, LARGEST));
  response.writeHead(302, { Location: `${echo}/macros/echo?user_content_key=${id}`, "Content-Type": "text/html; charset=utf-8" });
  response.end("<HTML><HEAD><TITLE>Moved Temporarily</TITLE></HEAD><BODY><H1>Moved Temporarily</H1></BODY></HTML>");
}

function page(response, status, title, words, element = "div") {
  response.writeHead(status, { "Content-Type": "text/html; charset=utf-8" });
  response.end(`<!DOCTYPE html><html><head><title>${title}</title></head><body><${element}>${words}</${element}></body></html>`);
}

async function read(stream, most) {
  const parts = [];
  let size = 0;
  for await (const part of stream) {
    parts.push(part);
    if ((size += part.length) >= most) {
      break;
    }
  }
  return Buffer.concat(parts).subarray(0, most);
}

// execute calls a function of the script in a thread: a script waits for what it fetches.
function execute(handler, event) {
  const thread = idle.pop() ?? new Worker(new URL("appsscript_thread.mjs", import.meta.url), { workerData: source });
  return new Promise((resolve) => {
    thread.removeAllListeners("message");
    thread.on("message", async (message) => {
      if (message.fetch) {
        message.port.postMessage(await fetch_(message.fetch));
        Atomics.store(message.done, 0, 1);
        Atomics.notify(message.done, 0);
        return;
      }
      idle.push(thread);
      resolve(message);
    });
    thread.postMessage({ handler, event });
  });
}

// fetch_ is UrlFetchApp's, for what scripts need who use nothing but POST.
async function fetch_({ url, options }) {
  if (fetches && fetched++ >= Number(fetches)) {
    return { threw: "Service invoked too many times for one day: urlfetch." };
  }
  try {
    const library = url.startsWith("https:") ? https : http;
    const payload = Buffer.from(options.payload);
    const response = await new Promise((resolve, reject) => {
      const request = library.request(url, {
        method: options.method.toUpperCase(), agent: false, rejectUnauthorized: options.validateHttpsCertificates !== false,
        headers: { "Content-Type": options.contentType, "Content-Length": payload.length },
      }, resolve);
      request.on("error", reject).end(payload);
    });
    const content = await read(response, LARGEST);
    return { status: response.statusCode, text: content.toString("utf8") };
  } catch {
    return { threw: `Address unavailable: ${url}` };
  }
}
