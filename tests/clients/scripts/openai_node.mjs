// What docs/clients.md shows of openai-node, and what an application sees of it; prints a line for each step.

// recipe begins
import fs from "node:fs";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://127.0.0.1:8000/v1", apiKey: "unused" });
const drawn = await client.images.generate({ prompt: "a red circle on a blue background" });
fs.writeFileSync("circle.png", Buffer.from(drawn.data[0].b64_json, "base64"));

const two = await client.images.generate({
  model: "gpt-image-1", prompt: "a yellow star on a purple background", n: 2, size: "256x256",
});

const edited = await client.images.edit({
  image: fs.createReadStream("circle.png"), prompt: "a red star on a blue background", strength: 0.7,
});

const repainted = await client.images.edit({
  image: fs.createReadStream("circle.png"), mask: fs.createReadStream("mask.png"),
  prompt: "a green square on a blue background",
});

const models = (await client.models.list()).data.map((model) => model.id);

const events = [];
const stream = await client.images.generate({
  prompt: "a white heart on a red background", stream: true, partial_images: 2,
});
for await (const event of stream) events.push(event.type);
// recipe ends

import assert from "node:assert";

const imagesOf = (answer) => answer.data.map((item) => {
  const image = Buffer.from(item.b64_json, "base64");
  assert.equal(image.subarray(1, 4).toString(), "PNG");
  return image;
});

const { version } = JSON.parse(fs.readFileSync("node_modules/openai/package.json"));
console.log(`version: openai ${version}, Node ${process.versions.node}`);
assert.equal(imagesOf(drawn).length, 1);
console.log("generate: one PNG");
assert.equal(imagesOf(two).length, 2);
console.log("n = 2: two PNGs");
assert.equal(imagesOf(two)[0].readUInt32BE(16), 256);
console.log("size: 256x256");
assert.notDeepEqual(imagesOf(edited), imagesOf(drawn));
console.log("edit: one PNG");
assert.notDeepEqual(imagesOf(repainted), imagesOf(drawn));
console.log("mask: one PNG");
assert.equal(models[0], "demo");
console.log(`list: ${models.join(", ")}`);
assert.deepEqual(events.slice(-1), ["image_generation.completed"]);
assert.equal(events.length, 3);
console.log(`stream: ${events.join(", ")}`);
await assert.rejects(client.images.generate({ prompt: "a star", size: "100x100" }), (error) => {
  console.log(`error: ${error.error.message}`);
  return error instanceof OpenAI.BadRequestError;
});
const leaving = new AbortController();
const waiting = client.images.generate({ prompt: "CANCELLED", size: "1024x1024" }, { signal: leaving.signal });
setTimeout(() => leaving.abort(), 1500);
await assert.rejects(waiting, OpenAI.APIUserAbortError);
console.log("cancel: the request is aborted after 1.5 s");
