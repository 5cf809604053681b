import { embed } from "./outcome.js";

// Service workers cannot start workers.
globalThis.outcome = (async () => [await embed(0)])();
