// Node's fetch gives up after 300 s without an answer, and clients then send the request again. Here the clients
// count 3 s instead: a request that takes longer is one job. Prints a line for each client.
import assert from "node:assert";
import { createOpenAI } from "@ai-sdk/openai";
import { generateImage } from "ai";
import OpenAI from "openai";
import { Agent, fetch as undiciFetch } from "undici";

const dispatcher = new Agent({ headersTimeout: 3000, bodyTimeout: 3000 });
let sent = 0;
const impatient = (url, options) => {
  sent += 1;
  return undiciFetch(url, { ...options, dispatcher });
};

const client = new OpenAI({
  baseURL: "http://127.0.0.1:8000/v1", apiKey: "unused", maxRetries: 9, fetch: impatient,
});
const drawn = await client.images.generate({ prompt: "LONGER", n: 2, size: "512x512" });
assert.equal(drawn.data.length, 2);
assert.ok(sent > 1, `the request was sent ${sent} times: this machine draws too fast for this test`);
console.log(`openai-node: ${sent} requests`);

// The AI SDK does not say who it is. White space before the answer keeps its connection.
sent = 0;
const openai = createOpenAI({
  baseURL: "http://127.0.0.1:8000/v1", apiKey: "unused", headers: { Prefer: "white-space=1" }, fetch: impatient,
});
const model = openai.image("gpt-image-1");
const begun = performance.now();
const { images } = await generateImage({ model, prompt: "KEPT", size: "1024x1024" });
assert.ok(performance.now() - begun > 3000, "this machine draws too fast for this test");
assert.ok(images.length === 1 && sent === 1);
console.log(`AI SDK: ${sent} request`);
