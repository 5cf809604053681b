import { outcome } from "./outcome.js";

globalThis.outcome = outcome(() => new Worker("./worker.js", { type: "module" }));
