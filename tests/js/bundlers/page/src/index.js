import { outcome } from "./outcome.js";

globalThis.outcome = outcome();
