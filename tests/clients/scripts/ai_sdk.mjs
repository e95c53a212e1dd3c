// What docs/clients.md shows of Vercel's AI SDK, and what an application sees of it; prints a line for each step.

// recipe begins
import fs from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { generateImage } from "ai";

const openai = createOpenAI({ baseURL: "http://127.0.0.1:8000/v1", apiKey: "unused" });
const model = openai.image("gpt-image-1");

const drawn = await generateImage({ model, prompt: "a red circle on a blue background" });
fs.writeFileSync("circle.png", drawn.image.uint8Array);

const two = await generateImage({ model, prompt: "a yellow star on a purple background", n: 2, size: "256x256" });

const circle = fs.readFileSync("circle.png");
const edited = await generateImage({ model, prompt: { text: "a red star on a blue background", images: [circle] } });

const mask = fs.readFileSync("mask.png");
const repainted = await generateImage({
  model, prompt: { text: "a green square on a blue background", images: [circle], mask },
});
// recipe ends

import assert from "node:assert";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

const versionOf = (name) => JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version;
const names = ["ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible"];
console.log(`version: ${names.map((name) => `${name} ${versionOf(name)}`).join(", ")}, Node ${process.versions.node}`);
const isPng = (image) => Buffer.from(image.uint8Array).subarray(1, 4).toString() === "PNG";
assert.ok(drawn.images.length === 1 && isPng(drawn.image));
console.log("generate: one PNG");
assert.ok(two.images.length === 2 && two.images.every(isPng));
console.log("n = 2: two PNGs, in two requests");
assert.equal(Buffer.from(two.images[0].uint8Array).readUInt32BE(16), 256);
console.log("size: 256x256");
assert.notDeepEqual(edited.image.uint8Array, drawn.image.uint8Array);
console.log("edit: one PNG");
assert.notDeepEqual(repainted.image.uint8Array, drawn.image.uint8Array);
console.log("mask: one PNG");
await assert.rejects(generateImage({ model, prompt: "a star", size: "100x100" }), (error) => {
  console.log(`error: ${error.message}`);
  return true;
});

// The provider for compatible services sends our own parameters too, under its own name.
const compatible = createOpenAICompatible({ name: "imagegen", baseURL: "http://127.0.0.1:8000/v1" });
const seeded = { model: compatible.imageModel("gpt-image-1"), prompt: "a star", providerOptions: { imagegen: { seed: 5 } } };
assert.deepEqual((await generateImage(seeded)).image.uint8Array, (await generateImage(seeded)).image.uint8Array);

const waiting = generateImage({
  model, prompt: "CANCELLED", size: "1024x1024", abortSignal: AbortSignal.timeout(1500), maxRetries: 0,
});
await assert.rejects(waiting);
console.log("cancel: the request is aborted after 1.5 s");
