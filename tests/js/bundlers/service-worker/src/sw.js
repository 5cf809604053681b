import { load } from "gossamer-embed";

let ready;

self.addEventListener("message", async ({ data: texts, ports: [port] }) => {
  ready ??= load("/model/");
  const { data } = await (await ready).encode(texts);
  port.postMessage([...data]);
});
