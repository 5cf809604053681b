import { embed } from "./outcome.js";

globalThis.outcome = (async () => [await embed(0), await embed(1)])();
