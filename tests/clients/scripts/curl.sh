#!/bin/sh
# What docs/clients.md shows of curl; prints a line for each step.
set -eu

# recipe begins
url=http://127.0.0.1:8000
curl -s "$url/v1/images/generations" -H 'Content-Type: application/json' \
  -d '{"prompt": "a red circle on a blue background"}' > answer.json
python3 -c 'import base64, json; print(json.load(open("answer.json"))["data"][0]["b64_json"])' | base64 -d > circle.png

curl -s "$url/v1/images/generations" -H 'Content-Type: application/json' \
  -d '{"prompt": "a yellow star on a purple background", "n": 2, "size": "256x256"}' > two.json

curl -s "$url/v1/images/edits" -F image=@circle.png -F 'prompt=a red star on a blue background' -F strength=0.7 > edited.json
curl -s "$url/v1/images/edits" -F image=@circle.png -F mask=@mask.png -F 'prompt=a green square on a blue background' \
  > repainted.json

curl -s "$url/v1/models" > models.json

curl -sN "$url/v1/images/generations" -H 'Content-Type: application/json' \
  -d '{"prompt": "a white heart on a red background", "stream": true, "partial_images": 2}' > events.txt
# recipe ends

echo "version: $(curl --version | sed -n '1s/ (.*//p')"
count() { python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["data"]))' "$1"; }
[ "$(head -c 4 circle.png | tail -c 3)" = PNG ] && echo "generate: one PNG"
[ "$(count two.json)" = 2 ] && echo "n = 2: two images"
grep -q '"size":"256x256"' two.json && echo "size: 256x256"
[ "$(count edited.json)" = 1 ] && echo "edit: one image"
[ "$(count repainted.json)" = 1 ] && echo "mask: one image"
[ "$(count models.json)" -gt 4 ] && echo "list: $(count models.json) models"
[ "$(grep -c '^event: image_generation.partial_image' events.txt)" = 2 ]
grep -q '^event: image_generation.completed' events.txt && echo "stream: 3 events"
# The first request of --http2 offers h2c; --compressed asks for a compressed answer.
curl -sf --http2 --compressed "$url/v1/images/generations" -H 'Content-Type: application/json' \
  -d '{"prompt": "a star"}' > compressed.json
[ "$(count compressed.json)" = 1 ]
echo "error: $(curl -s "$url/v1/images/generations" -H 'Content-Type: application/json' \
  -d '{"prompt": "a star", "size": "100x100"}' | python3 -c 'import json, sys; print(json.load(sys.stdin)["error"]["message"])')"
if curl -s --max-time 1.5 "$url/v1/images/generations" -H 'Content-Type: application/json' \
  -d '{"prompt": "CANCELLED", "size": "1024x1024"}' > /dev/null; then exit 1; fi
echo "cancel: curl leaves after 1.5 s"
