"""A site as its owner has it, in the clear on a port of loopback: a page whose script tries what pages do, and tells the
site how it went.

Arguments: the port. Prints one line of JSON for each request and each report.
"""

import json
import sys

from aiohttp import WSMsgType, web

MEGABYTES = 10

PAGE = """<!doctype html><html lang="en"><title>served by a key</title><body>served by a key<script>
const report = {secure: isSecureContext, origin: location.origin};
const attempt = async (name, trial) => {
  try { report[name] = await trial(); } catch (error) { report[name] = "failed: " + error; }
};
const echo = () => new Promise((resolve, reject) => {
  const socket = new WebSocket("wss://" + location.host + "/echo");
  socket.onopen = () => socket.send("a word");
  socket.onmessage = (event) => { resolve(event.data); socket.close(); };
  socket.onerror = () => reject("no WebSocket");
});
const worker = async () => {
  await navigator.serviceWorker.register("/worker.js");
  await navigator.serviceWorker.ready;
  return true;
};
const upload = async () => {
  const reply = await fetch("/upload", {method: "POST", body: new Uint8Array(MEGABYTES * 1048576)});
  return (await reply.json()).length;
};
const download = async () => (await (await fetch("/download")).arrayBuffer()).byteLength;
const protocol = () => performance.getEntriesByType("navigation")[0].nextHopProtocol;
(async () => {
  await attempt("protocol", protocol);
  await attempt("down", download);
  await attempt("up", upload);
  await attempt("echo", echo);
  await attempt("worker", worker);
  await fetch("/report", {method: "POST", body: JSON.stringify(report)});
  document.title = "done";
})();
</script></body></html>""".replace("MEGABYTES", str(MEGABYTES))


def tell(**what):
    print(json.dumps(what), flush=True)


def client(request):
    names = ("Host", "X-Forwarded-For", "X-Forwarded-Proto")
    return {name: request.headers.get(name) for name in names}


async def page(request):
    tell(page=request.path, **client(request))
    return web.Response(text=PAGE, content_type="text/html")


async def worker(_):
    return web.Response(text="addEventListener('fetch', () => {});", content_type="text/javascript")


async def upload(request):
    length = 0
    async for part in request.content.iter_chunked(65536):
        length += len(part)
    return web.json_response({"length": length})


async def download(_):
    return web.Response(body=bytes(MEGABYTES * 1048576))


async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


async def report(request):
    tell(report=await request.json(), **client(request))
    return web.Response()


site = web.Application(client_max_size=(MEGABYTES + 1) * 1048576)
site.add_routes(
    [
        web.get("/", page),
        web.get("/worker.js", worker),
        web.get("/download", download),
        web.post("/upload", upload),
        web.get("/echo", echo),
        web.post("/report", report),
    ]
)
web.run_app(site, host="127.0.0.1", port=int(sys.argv[1]), print=None)
