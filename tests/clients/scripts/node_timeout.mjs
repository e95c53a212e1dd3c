// Node's fetch gives up after 300 s without an answer, and openai-node sends the request again. Here both the client
// and the service count 3 s instead: a request that takes longer is one job. Prints a line for each step.
import assert from "node:assert";
import OpenAI from "openai";
import { Agent, fetch as undiciFetch } from "undici";

let sent = 0;
const client = new OpenAI({
  baseURL: "http://127.0.0.1:8000/v1",
  apiKey: "unused",
  maxRetries: 9,
  fetch: (url, options) => {
    sent += 1;
    return undiciFetch(url, options);
  },
  fetchOptions: { dispatcher: new Agent({ headersTimeout: 3000 }) },
});
const drawn = await client.images.generate({ prompt: "LONGER", n: 2, size: "512x512" });
assert.equal(drawn.data.length, 2);
assert.ok(sent > 1, `the request was sent ${sent} times: this machine draws too fast for this test`);
console.log(`requests: ${sent}`);
