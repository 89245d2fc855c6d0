// A thread of appsscript.mjs. Each execution has a global object of its own, with the
// services that relays use, as strict as Google's: what is not known is refused.

import { createHash } from "node:crypto";
import vm from "node:vm";
import { MessageChannel, parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";

const script = new vm.Script(workerData, { filename: "Code.gs" });
const OPTIONS = ["method", "contentType", "payload", "muteHttpExceptions", "followRedirects", "validateHttpsCertificates", "headers"];

class TextOutput {
  constructor(text) {
    this.text = String(text);
  }
  setMimeType(type) {
    if (!Object.values(ContentService.MimeType).includes(type)) {
      throw new Error(`The parameters (${type}) don't match the method signature for ContentService.TextOutput.setMimeType.`);
    }
    return this;
  }
}

const ContentService = {
  MimeType: { CSV: {}, ICAL: {}, JAVASCRIPT: {}, JSON: {}, TEXT: {}, VCARD: {} },
  createTextOutput: (text = "") => new TextOutput(text),
};

const Utilities = {
  DigestAlgorithm: { SHA_256: "sha256" },
  Charset: { UTF_8: "utf8" },
  computeDigest: (algorithm, text, charset) => [...new Int8Array(createHash(algorithm).update(text, charset).digest())],
};

const UrlFetchApp = {
  fetch(url, options) {
    const unknown = Object.keys(options).find((name) => !OPTIONS.includes(name));
    if (unknown || typeof options.payload !== "string" || !options.muteHttpExceptions || options.followRedirects) {
      throw new Error(`Attribute provided with no or invalid value: ${unknown}`);
    }
    const { port1, port2 } = new MessageChannel();
    const done = new Int32Array(new SharedArrayBuffer(4));
    parentPort.postMessage({ fetch: { url, options: { ...options } }, port: port2, done }, [port2]);
    Atomics.wait(done, 0, 0);
    const { status, text, threw } = receiveMessageOnPort(port1).message;
    port1.close();
    if (threw !== undefined) {
      const error = new Error(threw);
      error.name = "Exception";
      throw error;
    }
    return { getResponseCode: () => status, getContentText: () => text };
  },
};

parentPort.on("message", ({ handler, event }) => {
  const sandbox = vm.createContext({ ContentService, Utilities, UrlFetchApp });
  try {
    script.runInContext(sandbox);
    const result = sandbox[handler](event);
    parentPort.postMessage({ text: result instanceof TextOutput ? result.text : undefined });
  } catch (error) {
    parentPort.postMessage({ threw: String(error) });
  }
});
