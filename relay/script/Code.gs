// A relay for relaymux, as a Google Apps Script web app. It hands what it is sent to
// the node and the node's answer back, and knows nothing of what is in them.
//
// To set it up: a new project at script.google.com, with this in the place of Code.gs.
// Run doGet once by hand, and grant what it asks for. Then Deploy > New deployment >
// Web app, execute as "Me", access "Anyone". Its address, .../exec, is the url of a
// [[deployment]]. After each change: Deploy > Manage deployments > Edit > New version.

// What the proxy must show: key of its [[deployment]].
const AUTH_KEY = "PUT-THE-DEPLOYMENT-KEY-HERE";

// The node's address, such as https://node.example.com:8443, and the key under its [node].
const NODE_URL = "PUT-THE-NODE-ADDRESS-HERE";
const NODE_KEY = "PUT-THE-NODE-KEY-HERE";

// Whether the node's certificate must be one that Google trusts. With false, who stands
// between Google and the node could read NODE_KEY and, without a secret under [link],
// everything.
const VERIFY_CERTIFICATE = true;

// LARGEST is where Apps Script cuts what it fetches and what it answers, in bytes.
const LARGEST = 50 * 1024 * 1024;

// Nobody has anything to look for here. What a function that returns nothing shows is
// Google's own page for any such script: there is no better place to hide.
function doGet() {}

function doPost(event) {
  const request = read_(event);
  if (!isKey_(request.k)) {
    return undefined;
  }
  return ContentService.createTextOutput(serve_(request)).setMimeType(ContentService.MimeType.JSON);
}

// read_ is the request, an empty one if it is none.
function read_(event) {
  try {
    return JSON.parse(event.postData.contents) || {};
  } catch (error) {
    return {};
  }
}

// isKey_ compares digests, and all of them, so that the time tells nothing of the key.
// A script whose key has not been filled in lets nobody pass.
function isKey_(key) {
  if (typeof key !== "string" || AUTH_KEY === "" || AUTH_KEY.startsWith("PUT-")) {
    return false;
  }
  const got = digest_(key);
  const want = digest_(AUTH_KEY);
  let different = got.length ^ want.length;
  for (let i = 0; i < want.length; i++) {
    different |= got[i] ^ want[i];
  }
  return different === 0;
}

function digest_(text) {
  return Utilities.computeDigest(Utilities.DigestAlgorithm.SHA_256, text, Utilities.Charset.UTF_8);
}

// serve_ is the answer to a request with the right key.
function serve_(request) {
  switch (request.t) {
    case "batch":
      return forward_("/tunnel/batch", { k: NODE_KEY, ops: request.ops || [] });
    case "connect":
      return forward_("/tunnel", { k: NODE_KEY, op: request.t, host: request.h, port: request.p });
    case "connect_data":
      return forward_("/tunnel", {
        k: NODE_KEY, op: request.t, host: request.h, port: request.p, data: request.d || undefined,
      });
    case "data":
      return forward_("/tunnel", { k: NODE_KEY, op: request.t, sid: request.sid, data: request.d || undefined });
    case "close":
      return forward_("/tunnel", { k: NODE_KEY, op: request.t, sid: request.sid });
  }
  return failure_("unknown tunnel op: " + request.t, "UNSUPPORTED_OP");
}

// forward_ is the node's answer, or why there is none.
function forward_(path, body) {
  let response;
  try {
    response = UrlFetchApp.fetch(NODE_URL.replace(/\/+$/, "") + path, {
      method: "post",
      contentType: "application/json",
      payload: JSON.stringify(body),
      muteHttpExceptions: true,
      followRedirects: false, // NODE_KEY is for nobody else
      validateHttpsCertificates: VERIFY_CERTIFICATE,
    });
  } catch (error) { // no way to the node, no right to fetch, or no more of it today: its words say which
    return failure_(String(error), "FETCH_FAILED");
  }
  const status = response.getResponseCode();
  if (status !== 200) {
    return failure_("the node answers with status " + status, "NODE_STATUS_" + status);
  }
  const text = response.getContentText("UTF-8");
  if (text.length >= LARGEST) { // a part of it, which is worse than nothing
    return failure_("the node's answer is too large", "ANSWER_TOO_LARGE");
  }
  return text;
}

function failure_(words, code) {
  return JSON.stringify({ e: words, code: code });
}
